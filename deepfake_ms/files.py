"""Atomic file writes, lines that are appended whole, file names of limited length, and hashes."""

import hashlib
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

PART_SUFFIX = ".part"
"""Suffix of a file that is not complete yet."""

_MAX_NAME = 255
"""Bytes that file systems allow in a file name."""

_ABANDONED_S = 600
"""Age in seconds at which a partial file of another host counts as abandoned."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file so that a crash at any time leaves either the old or the new file, never a partial one.

    Args:
        path: the file; missing folders are created.

    Yields:
        The path to write to: a hidden file beside `path`. It replaces `path` if the block ends without an exception and
        is removed otherwise. Its name contains host, process and thread, because several may write to one folder.

    Raises:
        OSError: the file cannot be written, e.g. because the disk is full; its `filename` is `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = f"{_host()}.{os.getpid()}.{threading.get_native_id()}"
    part = path.with_name(f".{limit_name(path.name, _MAX_NAME - 80)}.{writer}{PART_SUFFIX}")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        if error.errno and error.filename in (None, str(part)):  # a failed write names no file
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        part.unlink(missing_ok=True)


def remove_abandoned(folder: Path, subfolders: bool = True) -> None:
    """Remove the partial files that killed processes have left in `folder`, and in its subfolders unless told not to.

    A file is abandoned if its process on this host has ended, or is the current one without another thread that may be
    writing it, or if another host has not touched it for ten minutes.
    """
    other_threads = {str(thread.native_id) for thread in threading.enumerate()} - {str(threading.get_native_id())}
    for part in list((folder.rglob if subfolders else folder.glob)(f".*{PART_SUFFIX}")):
        name, _, thread = part.name.removesuffix(PART_SUFFIX).rpartition(".")
        host, _, writer = name.rpartition(".")
        with suppress(OSError):  # another process may remove it first
            if host.endswith(f".{_host()}") and writer.isdigit():
                own = int(writer) == os.getpid()
                abandoned = thread not in other_threads if own else not _is_running(int(writer))
            else:
                abandoned = time.time() - part.stat().st_mtime > _ABANDONED_S
            if abandoned:
                part.unlink()


def _host() -> str:
    return socket.gethostname()[:40]


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it belongs to another user
        return True
    return True


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` a hard link to `source`, or a copy where links are impossible; atomic, see `replacing`."""
    with replacing(target) as part:
        part.unlink(missing_ok=True)  # may be a link to another file, which copying would overwrite
        try:
            part.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, part)


def limit_name(name: str, longest: int) -> str:
    """`name`, or its beginning and a hash if it is longer than `longest` bytes."""
    if len(os.fsencode(name)) <= longest:
        return name
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    beginning = os.fsencode(name)[: longest - len(digest) - 1].decode("utf-8", "ignore")
    return f"{beginning}~{digest}"


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A stream whose content replaces the file, see `replacing`, when it is on disk."""
    with replacing(path) as part, part.open("wb") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())


def write_atomically(path: Path, content: bytes | memoryview | str) -> None:
    """Write `content` to `path`, see `writing`."""
    with writing(path) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


def append_line(path: Path, line: str) -> None:
    """Append a line and put it on disk; after an error, the file is as before.

    An incomplete last line, which a killed process has left, is removed first.

    Raises:
        OSError: the file cannot be written, e.g. because the disk is full; its `filename` is `path`.
    """
    remaining = f"{line}\n".encode()
    with path.open("a+b", buffering=0) as stream:
        end = stream.seek(0, os.SEEK_END)
        stream.seek(max(end - 1, 0))
        if stream.read() != b"\n":
            stream.seek(0)
            end = stream.read().rfind(b"\n") + 1
        try:
            stream.truncate(end)
            while remaining:
                remaining = remaining[stream.write(remaining) :]
            os.fsync(stream.fileno())
        except OSError as error:
            stream.truncate(end)
            error.filename = str(path)
            raise


def write_json(path: Path, value: Any) -> None:
    """Write `value` atomically as indented JSON with sorted keys."""
    write_atomically(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def sha256_of(path: Path) -> str:
    """SHA-256 hex digest of the file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
