"""What videos and still images have in common: a reason why a file cannot be read."""

import os
from pathlib import Path


class UnreadableMedia(Exception):
    """A video or image that cannot be read, or not to its end; the message is the reason."""


def check_file(path: Path) -> None:
    """Refuse what no decoder needs to see: a folder, an empty file, one that this user may not read.

    Raises:
        UnreadableMedia: with the reason.
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
