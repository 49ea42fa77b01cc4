"""Atomic file writes and hashes."""

import hashlib
import json
import os
import socket
from pathlib import Path
from typing import Any


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write `content` so that a crash at any time leaves either the old or the new file, never a partial one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = temporary_path(path)
    with part.open("wb") as stream:
        stream.write(content.encode() if isinstance(content, str) else content)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)


def temporary_path(path: Path) -> Path:
    """Where to write before renaming to `path`: in the same folder, by a name that no other process anywhere uses."""
    return path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.part")


def write_json(path: Path, value: Any) -> None:
    """Write `value` atomically as indented JSON with sorted keys."""
    write_atomically(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def sha256_of(path: Path) -> str:
    """SHA-256 hex digest of the file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
