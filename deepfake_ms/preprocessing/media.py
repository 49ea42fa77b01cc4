"""Checks that apply to videos and still images alike."""

import os
from pathlib import Path


class UnreadableMedia(Exception):
    """A video or image that cannot be read to its end; the message gives the reason."""


def check_file(path: Path) -> None:
    """Check that the path is a file with content that this user may read.

    Raises:
        UnreadableMedia: it is a folder, an empty file, or cannot be opened.
    """
    if path.is_dir():
        raise UnreadableMedia("a folder, not a file")
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise UnreadableMedia(f"cannot be opened ({error.strerror})") from error
    if size == 0:
        raise UnreadableMedia("zero bytes")
