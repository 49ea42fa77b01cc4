"""Checks that apply to videos and still images alike."""

import os
import stat
from pathlib import Path

_LONGEST_REASON = 200
"""Characters of an unforeseen error that are kept."""


class UnreadableMedia(Exception):
    """A video or image that cannot be read to its end; the message gives the reason."""


def check_file(path: Path) -> None:
    """Check that the path is a file with content that this user may read.

    Raises:
        UnreadableMedia: it is a folder, a device, an empty file, or cannot be opened.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise UnreadableMedia("a folder, not a file")
        if not stat.S_ISREG(mode):
            raise UnreadableMedia("not a regular file")  # opening a pipe would wait for a writer
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise UnreadableMedia(f"cannot be opened ({error.strerror})") from error
    except ValueError as error:
        raise UnreadableMedia(f"cannot be opened ({error})") from error  # a path with a null byte
    if size == 0:
        raise UnreadableMedia("zero bytes")


def reason_of(error: Exception) -> str:
    """Why a file cannot be read, on one line: the message of an `UnreadableMedia`; kind and message of other errors."""
    reason = str(error) if isinstance(error, UnreadableMedia) else f"{type(error).__name__}: {error}"
    return " ".join(reason.split())[:_LONGEST_REASON]
