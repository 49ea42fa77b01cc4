"""The videos and images that the arguments of a command name."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from deepfake_ms.datasets.listing import DANGLING, UNLISTABLE, Listing
from deepfake_ms.errors import UserError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/{1,2}[^/]")  # Path shortens two slashes to one
NO_MEDIA = "a folder without videos and images"


def find_files(arguments: Sequence[str], output: Path | None = None) -> tuple[list[Path], dict[Path, str]]:
    """The files to score, in the order of the arguments; those of a folder by name.

    Folders are searched to any depth and links are followed once. Hidden files, files of other types and folders of
    prepared faces are skipped. A file that is named itself is always taken.

    Args:
        arguments: paths of files and folders.
        output: folder of the results; inside a folder that is searched, it is skipped, because it may hold the
            annotated videos of an earlier command.

    Returns:
        The files, and what cannot be read: path → reason.

    Raises:
        UserError: an argument is a URL.
    """
    files: list[Path] = []
    problems: dict[Path, str] = {}
    for argument in arguments:
        if _URL.match(argument):
            raise UserError(f"{argument} is a URL, and nothing is downloaded: save the file first and give its path.")
        path = Path(argument)
        if not path.is_dir():
            files.append(path)
            continue
        listing = Listing(path)
        (found,) = listing.media([path])
        if output is not None and path.resolve() in (results := Path(os.path.realpath(output))).parents:
            found = [each for each in found if not each.parent.resolve().is_relative_to(results)]
        files += found
        here: dict[Path, str] = {}
        for reason, lost in (("cannot be opened", UNLISTABLE), ("links to nothing", DANGLING)):
            here |= {path / name: reason for name in listing.ignored.get(lost, [])}
        if not found and not here:
            here[path] = NO_MEDIA
        problems |= here
    return list(dict.fromkeys(files)), problems
