"""A streamkeeper worker in Python, written after docs/PROTOCOL.md: runs a command per stream, or a coroutine of yours.

python worker.py --id py-1 --connect data/connect.json --exec 'ffmpeg -nostdin -i {source} -f null -'
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import random
import re
import signal
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import msgpack  # type: ignore[import-untyped]
from nats.aio.msg import Msg

from link import Link
from state import State
from streams import Fields, Runner, Streams, command

INTERVAL = 2.0  # seconds between two heartbeats, spread by 10 % so that a fleet does not speak all at once
MIN_GAP = 0.02  # a burst of changes is told once
LOCAL_AFTER = 10.0  # without a word from a leader for so many seconds, the worker reports mode "local"
PART_ENTRIES = 512  # inventory entries of one heartbeat: it has to fit into the server's max_payload of 1 MiB
MAX_MESSAGE = 8 * 1024 * 1024
MAX_REPLIES = 256
ZLIB = 0x78  # first byte of a compressed message; no MessagePack map begins with it
ZLIB_HOLDS = 5.0  # seconds after a leader's word; the next leader may not understand compressed messages
ORDERS = ("ping", "resync", "drain", "resume", "restart")
log = logging.getLogger("worker")


class Worker:
    """One life of a worker: which sets it accepts, what it tells, whom it obeys."""

    def __init__(self, state: State, run: Runner, address: Callable[[], Fields], max_streams: int, labels: Fields):
        self.state, self.max_streams, self.labels = state, max_streams, labels
        self.streams = Streams(run, self.changed)
        self.phase, self.seq, self.heard_at = "ready", 0, float("-inf")
        self.zlib = False  # whether the leader understands compressed messages, as it last said
        self.applied, self.lease_only = (0, 0), True  # (term, generation), always compared as a pair
        self.assembling: tuple[tuple[int, int], int] = ((0, 0), 0)  # version and parts of a set that is still coming
        self.parts: list[list[Fields]] = []
        self.version, self.told, self.whole = 0, -1, True  # of the inventory: now, last told whole, to be told whole
        self.replies: dict[str, Fields] = {}
        handlers = {"assign": self.on_assign, "control": self.on_control}
        self.link = Link(state.worker, state.session, address, handlers, self.connected)
        self.wake, self.leaving = asyncio.Event(), asyncio.Event()

    def changed(self) -> None:
        self.version += 1
        self.wake.set()

    def connected(self) -> None:
        self.whole = True  # whatever was sent over the old connection may be lost
        self.wake.set()

    # ---- what the leader wants

    def read(self, message: Msg) -> Fields:
        """Decodes a message, or raises: whatever is unclear changes nothing."""
        if len(message.data) > MAX_MESSAGE:
            raise ValueError("too large")
        fields: Fields = msgpack.unpackb(inflate(message.data) if message.data[:1] == bytes([ZLIB]) else message.data)
        if (fields["v"], fields["worker"]) != (1, self.state.worker):
            raise ValueError("another version or another worker")
        return fields

    async def on_assign(self, message: Msg) -> None:
        try:
            self.assign(self.read(message))
        except Exception as error:  # a bad message must not end the subscription
            log.warning("assign is refused: %r", error)

    def assign(self, assign: Fields) -> None:
        kind, version = assign["kind"], (assign["term"], assign["generation"])
        if assign["session"] != self.state.session or kind == "refused":
            log.warning("refused, or meant for another session: %s", assign.get("reason"))
            return
        # From a leader that was deposed, or late: to follow it would undo what is newer.
        if assign["term"] < self.state.highest_term or version < self.applied:
            return
        self.heard_at = time.monotonic()
        self.zlib = assign.get("zlib", False)
        self.whole |= assign.get("whole_inventory", False)
        if kind == "lease_only" and version > self.applied:
            self.whole = True
            self.applies(version, lease_only=True)
        # A repeated set is not applied again: it would start again what has ended since.
        elif kind == "desired" and (version > self.applied or self.lease_only):
            entries = self.assemble(version, assign)
            if entries is not None:
                self.applies(version, lease_only=False)
                self.streams.apply(entries, self.phase)

    def applies(self, version: tuple[int, int], lease_only: bool) -> None:
        self.state.accept(version[0])
        self.applied, self.lease_only = version, lease_only
        self.wake.set()

    def assemble(self, version: tuple[int, int], assign: Fields) -> dict[str, Fields] | None:
        """Takes the next part; gives the set when it is whole. A set with a hole would stop streams that it names."""
        part, parts = assign["part"], assign["parts"]
        if part == 0 and version >= self.assembling[0]:
            self.assembling, self.parts = (version, parts), []
        if (version, parts, part) != (*self.assembling, len(self.parts)):
            self.assembling, self.parts = ((0, 0), 0), []
            raise ValueError(f"part {part} of {parts} is out of order; the leader sends the set again")
        self.parts.append(assign.get("entries", []))
        if part + 1 < parts:
            return None
        entries = [entry for chunk in self.parts for entry in chunk]
        self.assembling, self.parts = ((0, 0), 0), []
        by_stream = {entry["stream"]: entry for entry in entries}
        if len(by_stream) < len(entries) or any(e["action"] == "run" and not e.get("spec") for e in entries):
            raise ValueError("a stream is twice in the set, or has nothing to run")
        return by_stream

    # ---- what the leader hears

    def heartbeats(self) -> list[Fields]:
        """The next heartbeat; several where the inventory is long."""
        rows = self.streams.inventory()
        inventory: Fields = {"version": self.version, "count": len(rows)}
        parts = [inventory]  # enough where the leader holds this version already
        if self.whole or self.told != self.version:
            chunks = [rows[at : at + PART_ENTRIES] for at in range(0, len(rows), PART_ENTRIES)] or [[]]
            parts = [inventory | {"part": n, "parts": len(chunks), "running": c} for n, c in enumerate(chunks)]
            self.whole, self.told = False, self.version
        state = self.state
        common: Fields = {"v": 1, "worker": state.worker, "session": state.session, "boot_id": state.boot_id}
        common |= {"supersedes": state.supersedes} if state.supersedes else {}
        common |= {"applied": {"term": self.applied[0], "generation": self.applied[1]}}
        common |= {"highest_term": state.highest_term, "phase": self.phase}
        common |= {"mode": "connected" if time.monotonic() - self.heard_at < LOCAL_AFTER else "local"}
        common |= {"capacity": {"max_streams": self.max_streams, "weight": float(self.max_streams)}}
        common |= {"labels": self.labels, "version": "python-example/1", "zlib": True}
        first, self.seq = self.seq + 1, self.seq + len(parts)
        return [common | {"seq": first + n, "inventory": part} for n, part in enumerate(parts)]

    async def tell(self) -> None:
        if self.link.client is not None:
            understood = self.zlib and time.monotonic() - self.heard_at < ZLIB_HOLDS
            for heartbeat in self.heartbeats():
                await self.link.publish("heartbeat", heartbeat, compressed=understood)

    async def beat(self) -> None:
        while True:
            self.wake.clear()
            await self.tell()
            await asyncio.sleep(MIN_GAP)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL * random.uniform(0.9, 1.1)):
                    await self.wake.wait()

    # ---- orders

    async def on_control(self, message: Msg) -> None:
        try:
            order = self.read(message)
            reply = self.replies.get(order["id"]) or self.obey(order)  # done once, answered as often as asked
            if message.reply:
                await message.respond(msgpack.packb(reply))
        except Exception as error:  # a bad message must not end the subscription
            log.warning("order is refused: %r", error)

    def obey(self, order: Fields) -> Fields:
        kind, reason = order["kind"], None
        if order.get("session") not in (None, self.state.session):
            reason = f"another session is meant, this is {self.state.session}"
        elif order["term"] < self.state.highest_term:
            reason = f"term {order['term']} is below {self.state.highest_term}"
        elif kind not in ORDERS:
            reason = f"there is no order {kind}"
        elif kind == "resync":
            self.whole = True
        elif (kind, self.phase) in (("drain", "ready"), ("resume", "draining")):
            self.phase = "draining" if kind == "drain" else "ready"
        elif kind == "restart":
            self.leaving.set()
        self.wake.set()
        reply: Fields = {"v": 1, "id": order["id"], "done": reason is None} | ({"reason": reason} if reason else {})
        self.replies[order["id"]] = reply
        if len(self.replies) > MAX_REPLIES:
            del self.replies[next(iter(self.replies))]
        return reply

    # ---- the whole life

    async def run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.leaving.set)
        log.info("worker %s, session %s", self.state.worker, self.state.session)
        async with asyncio.TaskGroup() as group:
            link, pulse = group.create_task(self.link.keep()), group.create_task(self.beat())
            await self.leaving.wait()
            self.phase = "leaving"
            self.streams.apply({}, self.phase)
            while self.streams.tasks:
                await asyncio.wait(self.streams.tasks)
            await end(pulse)
            self.phase = "gone"  # proof of death, and the last message: the streams are replaced at once
            await self.tell()
            await self.link.flush()
            await end(link)


def inflate(data: bytes) -> bytes:
    """The message in a compressed one. Not with `zlib.decompress`: a small message may hold a huge one."""
    inflater = zlib.decompressobj()
    message = inflater.decompress(data, MAX_MESSAGE + 1)
    if len(message) > MAX_MESSAGE or not inflater.eof or inflater.unused_data:
        raise ValueError("too large when inflated, cut off, or followed by something")
    return message


async def end(task: asyncio.Task[None]) -> None:
    """Cancels until it has ended: in Python 3.11 a `wait_for`, which the library uses, may swallow a cancellation."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--id", required=True, help="name of this worker, unique in the fleet")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--connect", type=Path, help="connect.json of an orchestrator with a managed message server")
    where.add_argument("--nats", help="URL of the message server, such as nats://127.0.0.1:4222")
    parser.add_argument("--prefix", default="sk", help="prefix of all subjects, with --nats")
    parser.add_argument("--exec", default="sleep infinity", help="command per stream; knows {source} {stream} {epoch}")
    parser.add_argument("--state", type=Path, help="folder for what outlives the process")
    parser.add_argument("--max-streams", type=int, default=100)
    parser.add_argument("--label", action="append", default=[], metavar="KEY=VALUE", help="may be required by streams")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", args.id):
        parser.error(f"--id {args.id!r}: use 1 to 64 of A-Z a-z 0-9 _ -")

    def address() -> Fields:
        return json.loads(args.connect.read_text()) if args.connect else {"urls": [args.nats], "prefix": args.prefix}

    state, labels = State(args.state, args.id), dict(label.split("=", 1) for label in args.label)
    asyncio.run(Worker(state, command(args.exec, state.lock), address, args.max_streams, labels).run())


if __name__ == "__main__":
    main()
