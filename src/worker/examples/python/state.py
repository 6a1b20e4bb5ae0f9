"""What outlives a worker process: its last session, and the highest term that it ever accepted."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import sys
import time
from pathlib import Path

WAIT_FOR_LOCK = 5.0  # seconds; children of a killed worker need a moment to die
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class State:
    """Without a folder nothing is kept: then a restarted worker waits until its former session counts as lost."""

    def __init__(self, folder: Path | None, worker: str) -> None:
        self.worker, self.session, self.boot_id = worker, secrets.token_hex(16), BOOT_ID.read_text().strip()
        self.supersedes: str | None = None
        self.highest_term = 0
        self.lock = -1
        self.file = folder / "session.json" if folder else None
        if folder and self.file:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.take_lock(folder)
            if self.file.exists():
                last = json.loads(self.file.read_text())
                self.highest_term = last["highest_term"]
                # A lock proves nothing about another boot: two machines may mount the same folder.
                if (last["worker"], last["boot_id"]) == (worker, self.boot_id):
                    self.supersedes = last["session"]
            self.save()

    def take_lock(self, folder: Path) -> None:
        """Children inherit the lock: whoever gets it knows that nothing of the last session runs any more."""
        self.lock = os.open(folder / "worker.lock", os.O_RDWR | os.O_CREAT, 0o600)
        end = time.monotonic() + WAIT_FOR_LOCK
        while True:
            try:
                return fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= end:
                    sys.exit(f"{folder}: another worker uses this folder; give each worker a folder of its own")
                time.sleep(0.05)

    def accept(self, term: int) -> None:
        """Remembers a term before anything of it is carried out."""
        if term > self.highest_term:
            self.highest_term = term
            self.save()

    def save(self) -> None:
        if self.file:
            new = self.file.with_suffix(".new")
            with open(new, "w") as out:
                keys = ("worker", "session", "boot_id", "highest_term")
                json.dump({key: getattr(self, key) for key in keys}, out)
                out.flush()
                os.fsync(out.fileno())
            new.replace(self.file)  # after a crash there is the old file or the new one, never half of one
