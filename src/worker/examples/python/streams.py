"""The streams that a worker holds, from the order to start one to the end of its stop, and how a command runs one."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import random
import re
import shlex
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

HEALTHY_AFTER = 60.0  # a stream that ran for so many seconds begins its backoff anew
STOP_GRACE = 5.0  # seconds between SIGTERM and SIGKILL
MAX_TEXT = 1024

Fields = dict[str, Any]


@dataclass
class Job:
    """One start of one stream, for whoever runs it."""

    stream: str
    epoch: int  # the fencing token: hand it to the stream's sinks, so that they can refuse an older owner
    source: str
    labels: dict[str, str]
    attempt: int
    stop: asyncio.Event  # set when the stream has to end
    up: Callable[[], None]  # to be called when the stream runs; until then it counts as starting


# Runs a stream until it ends or `stop` is set. When it returns (why, in words), nothing of the stream may run any more.
Runner = Callable[[Job], Awaitable[str]]


@dataclass
class Hold:
    """A stream that runs, or that may still run: all that time it is in the inventory."""

    epoch: int
    spec: Fields
    state: str = "starting"
    restarts: int = 0
    reason: str | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    next: tuple[int, Fields] | None = None  # what to start when the stop is complete


class Streams:
    """Makes what runs the same as what is wanted."""

    def __init__(self, run: Runner, changed: Callable[[], None]) -> None:
        self.run, self.changed = run, changed
        self.holds: dict[str, Hold] = {}
        self.floor: dict[str, int] = {}  # highest epoch that was ever to be started; nothing below it is started again
        self.tasks: set[asyncio.Task[None]] = set()

    def inventory(self) -> list[Fields]:
        return [
            {"stream": stream, "epoch": hold.epoch, "state": hold.state, "restarts": hold.restarts}
            | ({"reason": hold.reason} if hold.reason else {})
            for stream, hold in sorted(self.holds.items())
        ]

    def apply(self, entries: dict[str, Fields], phase: str) -> None:
        """Applies a whole desired set. Stops come first: the tasks of new starts run after this has returned."""
        for stream in [stream for stream in self.holds if stream not in entries]:
            self.end(stream)
        for stream, entry in entries.items():
            hold, epoch = self.holds.get(stream), entry["epoch"]
            # A draining worker takes no stream that it does not hold, or that was taken away from it.
            is_new = hold is None or (hold.state == "stopping" and hold.next is None)
            allowed = phase == "ready" or (phase == "draining" and not is_new)
            run = entry["action"] == "run" and allowed and epoch >= self.floor.get(stream, 0)
            # An exclusive stream needs a lease and a guard, which this worker does not have.
            run = run and entry["spec"]["ownership"] == "available"
            if run:
                self.floor[stream] = epoch
            if hold is None:
                if run:
                    self.begin(stream, epoch, entry["spec"])
            elif hold.state == "stopping":
                hold.next = (epoch, entry["spec"]) if run else None  # the newest set decides alone
            elif run and epoch > hold.epoch:
                self.end(stream)
                hold.next = (epoch, entry["spec"])
            # `keep`, and `run` with the epoch that is held: it goes on as it is.

    def begin(self, stream: str, epoch: int, spec: Fields) -> None:
        self.holds[stream] = hold = Hold(epoch, spec)
        self.changed()
        task = asyncio.create_task(self.keep(stream, hold))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def end(self, stream: str) -> None:
        hold = self.holds[stream]
        hold.next = None
        if hold.state != "stopping":
            hold.state = "stopping"
            hold.stop.set()
            self.changed()

    async def keep(self, stream: str, hold: Hold) -> None:
        """Runs a stream again and again until it is stopped; then starts what comes after it."""
        failures = 0

        def up() -> None:
            if hold.state == "starting":
                hold.state = "running"
                self.changed()

        while not hold.stop.is_set():
            began = time.monotonic()
            labels = hold.spec.get("labels", {})
            try:
                job = Job(stream, hold.epoch, hold.spec["source"], labels, hold.restarts, hold.stop, up)
                reason = await self.run(job)
            except Exception as error:  # the failure of one stream is not the worker's
                reason = repr(error)
            if hold.stop.is_set():
                break
            failures = 0 if time.monotonic() - began >= HEALTHY_AFTER else failures
            hold.state, hold.reason, hold.restarts = "failing", plain(reason), hold.restarts + 1
            self.changed()
            # Full jitter: streams of one dead source must not come back all at once.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(random.uniform(0, min(30.0, 2.0 ** min(failures, 9)))):
                    await hold.stop.wait()
                break
            failures += 1
            hold.state = "starting"
            self.changed()
        del self.holds[stream]
        self.changed()
        if hold.next is not None:
            self.begin(stream, *hold.next)


def plain(text: str) -> str:
    """One line within the limit: a leader refuses a whole heartbeat for one text that is too long."""
    line = "".join(char if char.isprintable() else " " for char in text)
    return line.encode("utf-8", "replace")[:MAX_TEXT].decode("utf-8", "ignore")


def command(template: str, lock: int) -> Runner:
    """Runs a command per stream, in a process group of its own; the command dies with this process (Linux)."""
    words, libc = shlex.split(template), ctypes.CDLL(None)

    async def run(job: Job) -> str:
        values = {"source": job.source, "stream": job.stream, "epoch": str(job.epoch)}
        argv = [re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), word) for word in words]
        env = os.environ | {f"STREAMKEEPER_{key.upper()}": value for key, value in values.items()}
        try:
            child = await asyncio.create_subprocess_exec(
                *argv,
                env=env,
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=[lock] if lock >= 0 else [],
                preexec_fn=lambda: libc.prctl(1, signal.SIGKILL),  # PR_SET_PDEATHSIG
            )
        except OSError as error:
            return f"{argv[0]}: {error.strerror}"
        job.up()
        ended, stopped = asyncio.ensure_future(child.wait()), asyncio.ensure_future(job.stop.wait())
        await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not ended.done():
            kill_group(child.pid, signal.SIGTERM)
            await asyncio.wait({ended}, timeout=STOP_GRACE)
        kill_group(child.pid, signal.SIGKILL)  # also what the command left behind in its group
        return f"exit code {await ended}"

    return run


def kill_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)
