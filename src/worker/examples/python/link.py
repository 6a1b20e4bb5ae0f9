"""The connection to the message server: made, and made anew when it is lost, for ever."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgpack  # type: ignore[import-untyped]
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

CONNECT_TIMEOUT = 5.0  # seconds
COMPRESS_ABOVE = 8 * 1024  # bytes; smaller messages are sent as they are
log = logging.getLogger("worker")
Handlers = dict[str, Callable[[Msg], Awaitable[None]]]


class Link:
    """The library's own way back is closed: it would send what it queued in the meantime, when it is no longer true."""

    def __init__(self, worker: str, session: str, address: Callable[[], dict[str, Any]], handlers: Handlers, up: Callable[[], None]):
        self.worker, self.address, self.handlers, self.up = worker, address, handlers, up
        self.name = f"worker {worker} {session}"  # the end of this connection is known by it
        self.client: Client | None = None
        self.root = ""

    async def publish(self, token: str, fields: dict[str, Any], compressed: bool = False) -> None:
        """Sends a message, or drops it where there is no connection."""
        data = msgpack.packb(fields)
        if compressed and len(data) > COMPRESS_ABOVE:
            data = zlib.compress(data, 1)
        with contextlib.suppress(nats.errors.Error, OSError):
            if self.client is not None:
                await self.client.publish(f"{self.root}.{token}.{self.worker}", data)

    async def flush(self) -> None:
        with contextlib.suppress(nats.errors.Error, OSError):
            if self.client is not None:
                await self.client.flush(timeout=2)

    async def keep(self) -> None:
        attempt = 0
        while True:
            try:
                await self.connect()
                attempt = -1
            except (OSError, TimeoutError, ValueError, KeyError, nats.errors.Error) as error:
                if attempt == 0:  # one line per outage: it may last for hours
                    log.warning("no connection: %r; streams go on, attempts too", error)
            attempt = min(attempt + 1, 9)
            await asyncio.sleep(random.uniform(0.05, min(5.0, 0.2 * 2.0**attempt)))

    async def connect(self) -> None:
        """Connects once, and returns when the connection is lost."""
        closed = asyncio.Event()

        async def on_closed() -> None:
            closed.set()

        async def on_error(error: Exception) -> None:
            log.debug("message server: %r", error)

        to = self.address()  # anew each time: a managed server may have come back on another port
        login = {"user": to.get("user"), "password": to.get("password"), "name": self.name}
        # Even the first connection would be tried for minutes inside the library, with the address of now.
        once = {"allow_reconnect": False, "max_reconnect_attempts": 1, "reconnect_time_wait": 0, "connect_timeout": 2}
        timing = {"ping_interval": 3, "max_outstanding_pings": 2, "closed_cb": on_closed, "error_cb": on_error}
        async with asyncio.timeout(CONNECT_TIMEOUT):
            client = await nats.connect(random.choice(to["urls"]), **login, **once, **timing)
        try:
            self.root = f"{to['prefix']}.v1"
            for token, handler in self.handlers.items():
                await client.subscribe(f"{self.root}.{token}.{self.worker}", cb=handler)
            self.client = client
            self.up()
            log.info("connected")
            await closed.wait()
            log.warning("the connection is lost; streams go on")
        finally:
            self.client = None
            await client.close()
