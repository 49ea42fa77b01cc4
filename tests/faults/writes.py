"""Ends a process at one of its writes, with the audit events that Python raises before a file is opened or renamed."""

import json
import os
import resource
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

RENAMES = ("os.rename", "os.link")
EVENTS = ("open", *RENAMES, "os.remove", "os.mkdir")


@dataclass(frozen=True)
class Write:
    """A write below the watched folder, before it happens.

    Attributes:
        event: name of the audit event, see `EVENTS`.
        path: what is written or renamed to, relative to the watched folder, without the parts that differ from
            process to process.
    """

    event: str
    path: str


@dataclass(frozen=True)
class KillAt:
    """SIGKILL before the n-th write of a kind, or, with `written`, inside it.

    Attributes:
        write: the kind: event and path.
        number: of the write among those of its kind, from 0.
        written: bytes of a file that are still written; the process then ends by SIGXFSZ.
        survivable: further bytes raise an OSError instead, as on a full disk.
    """

    write: Write
    number: int
    written: int | None = None
    survivable: bool = False


class WriteWatch:
    """Counts the writes of this process below `folder`, notes them in a file, and ends the process at one of them."""

    def __init__(self, folder: Path, notes: Path, kill: KillAt | None = None):
        self.folder, self.kill, self.counts = str(folder.resolve()), kill, Counter()
        self.limited = False
        self.notes = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        if kill and kill.written is not None:  # here, because the write may be another thread's
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN if kill.survivable else signal.SIG_DFL)
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple) -> None:
        if event not in EVENTS or self.limited:  # the limit would concern the notes, too
            return
        target = arguments[1] if event in RENAMES else arguments[0]
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        if not isinstance(target, str | bytes | os.PathLike):
            return
        path = os.path.abspath(os.fsdecode(target))  # noqa: PTH100 pathlib would raise audit events
        if not path.startswith(self.folder + "/") or path.endswith(".lock"):
            return
        os.write(self.notes, (json.dumps([event, path[len(self.folder) + 1 :]]) + "\n").encode())
        write = Write(event, _without_writer(path[len(self.folder) + 1 :]))
        self.counts[write] += 1
        if self.kill is None or write != self.kill.write or self.counts[write] != self.kill.number + 1:
            return
        if self.kill.written is None:
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            self.limited = True
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.kill.written, resource.RLIM_INFINITY))


def kill_at(writes: Sequence[Write], number: int, *arguments, **named) -> KillAt:
    """The kill at the n-th of these writes; further arguments as for `KillAt`."""
    return KillAt(writes[number], writes[:number].count(writes[number]), *arguments, **named)


def read_writes(notes: Path) -> list[Write]:
    """The writes that a `WriteWatch` has noted, in order."""
    return [Write(event, _without_writer(path)) for event, path in map(json.loads, notes.read_text().splitlines())]


def _without_writer(path: str) -> str:
    """``run/.chain.json.HOST.PROCESS.THREAD.part`` as ``run/chain.json``; a hash in `.stages` as ``HASH``."""
    folder, _, name = path.rpartition("/")
    if name.endswith(".part"):
        name = name[1:].split("." + os.uname().nodename[:40])[0]
    if folder.endswith(".stages"):
        name = "HASH.json"
    return f"{folder}/{name}"
