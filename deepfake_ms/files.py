"""Atomic file writes, file names of limited length, and hashes."""

import hashlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PART_SUFFIX = ".part"
"""Suffix of a file that is not complete yet."""

_MAX_NAME = 255
"""Bytes that file systems allow in a file name."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file so that a crash at any time leaves either the old or the new file, never a partial one.

    Args:
        path: the file; missing folders are created.

    Yields:
        The path to write to: a hidden file beside `path`. It replaces `path` if the block ends without an exception and
        is removed otherwise. Its name contains host, process and thread, because several may write to one folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = f"{socket.gethostname()[:40]}.{os.getpid()}.{threading.get_native_id()}"
    part = path.with_name(f"{part_prefix(path.name)}{writer}{PART_SUFFIX}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def part_prefix(name: str) -> str:
    """How the names of all partial versions of the file `name` begin."""
    return f".{limit_name(name, _MAX_NAME - 80)}."


def limit_name(name: str, longest: int) -> str:
    """`name`, or its beginning and a hash if it is longer than `longest` bytes."""
    if len(os.fsencode(name)) <= longest:
        return name
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    beginning = os.fsencode(name)[: longest - len(digest) - 1].decode("utf-8", "ignore")
    return f"{beginning}~{digest}"


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write `content` to `path`, see `replacing`; it is on disk before it replaces the old file."""
    with replacing(path) as part, part.open("wb") as stream:
        stream.write(content.encode() if isinstance(content, str) else content)
        stream.flush()
        os.fsync(stream.fileno())


def write_json(path: Path, value: Any) -> None:
    """Write `value` atomically as indented JSON with sorted keys."""
    write_atomically(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def sha256_of(path: Path) -> str:
    """SHA-256 hex digest of the file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
