"""List the videos and images of a corpus, and record everything that is not read."""

import os
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path

from deepfake_ms.datasets.source import PREPARED_NAME, Layout, Source, VideoFolder, media_of, portable

HIDDEN = "hidden"
UNKNOWN_TYPE = "of a type that cannot be read here"
DANGLING = "links to nothing"
REPEATED = "links to a folder that is read anyway"
UNLISTABLE = "folders that cannot be opened"
SPECIAL = "neither files nor folders"
PREPARED = "folders of prepared faces"
OUTSIDE = "outside the folders of the layout"
UNLISTED = "not named in the corpus's own list"


class Listing:
    """The videos and images below some folders of a corpus.

    Links are followed. A folder that can be reached in several ways is listed once: where it lies itself, if that is
    among the given folders, otherwise below its first link.

    Args:
        root: the corpus root.
        expected: names of files that the layout needs besides videos and images; they are not reported.

    Attributes:
        ignored: reason -> paths relative to the corpus root, with forward slashes, that are not read.
        links: followed links that lead out of the corpus root.
    """

    def __init__(self, root: Path, expected: Container[str] = ()) -> None:
        self._root, self._real_root, self._expected = root, os.path.realpath(root), expected
        self._listed: set[str] = set()
        self.ignored: dict[str, list[str]] = {}
        self.links: list[str] = []

    def media(self, folders: Iterable[Path]) -> list[list[Path]]:
        """The videos and images below each folder, sorted; none for a folder that does not exist."""
        folders = list(folders)
        found: list[list[Path]] = [[] for _ in folders]
        links = [[folder] if folder.is_symlink() else [] for folder in folders]
        for position, folder in enumerate(folders):
            if folder.is_dir() and not folder.is_symlink():
                found[position] += self._walk(folder, links[position])
        for position, waiting in enumerate(links):
            for link in waiting:  # grows, if a linked folder contains links
                found[position] += self._walk(link, waiting)
        return [sorted(paths) for paths in found]

    def ignore(self, reason: str, path: Path) -> None:
        """Note that `path` is not read."""
        self.ignored.setdefault(reason, []).append(portable(path.relative_to(self._root)))

    def ignore_outside(self, entries: Iterable[Path]) -> None:
        """Note that these files and folders are no part of the layout, with the number of videos and images in them."""
        for path in sorted(entries):
            if path.name.startswith(".") or path.name in self._expected:
                continue
            inside = sum(media_of(Path(name)) is not None for _, _, names in os.walk(path) for name in names)
            name = portable(path.relative_to(self._root))
            shown = f"{name}/ ({inside} videos and images)" if path.is_dir() else name
            self.ignored.setdefault(OUTSIDE, []).append(shown)

    def ignore_all_but(self, folders: Iterable[Path]) -> None:
        """Note all files and folders beside these folders, in the root and in the folders that lead to them."""
        folders = set(folders)
        above = {self._root, *(parent for folder in folders for parent in folder.parents)}
        above = {parent for parent in above if parent.is_relative_to(self._root) and parent.is_dir()}
        entries = {entry for parent in above for entry in parent.iterdir()}
        self.ignore_outside(entries - above - folders)

    def note_link(self, path: Path) -> None:
        """Note `path` if it is a link that leads out of the corpus root."""
        if path.is_symlink() and not f"{os.path.realpath(path)}{os.sep}".startswith(f"{self._real_root}{os.sep}"):
            self.links.append(portable(path.relative_to(self._root)))

    def _walk(self, folder: Path, links: list[Path]) -> Iterator[Path]:
        """The videos and images below a folder; links to folders are added to `links` instead of being followed."""
        waiting = [folder]
        while waiting:
            current = waiting.pop()
            real = os.path.realpath(current)
            if real in self._listed:
                self.ignore(REPEATED, current)
                continue
            self._listed.add(real)
            if os.path.isfile(current / PREPARED_NAME):  # noqa: PTH113
                self.ignore(PREPARED, current)
                continue
            self.note_link(current)
            try:
                entries = sorted(current.iterdir())
            except OSError:
                self.ignore(UNLISTABLE, current)
                continue
            for path in entries:
                if path.name.startswith("."):
                    self.ignore(HIDDEN, path)
                elif os.path.isdir(path):  # noqa: PTH112 Path.is_dir raises for some links
                    (links if path.is_symlink() else waiting).append(path)
                elif not os.path.isfile(path):  # noqa: PTH113
                    self.ignore(DANGLING if path.is_symlink() else SPECIAL, path)
                elif media_of(path) is None:
                    if path.name not in self._expected:
                        self.ignore(UNKNOWN_TYPE, path)
                else:
                    self.note_link(path)
                    yield path


def list_videos(
    root: Path, folders: Sequence[VideoFolder], layout: Layout, expected: Container[str] = ()
) -> tuple[list[Source], Listing]:
    """The videos in all `folders`, with no official subset yet, and the listing that found them.

    Args:
        root: the corpus root.
        folders: all of them must contain videos.
        layout: for error messages.
        expected: see `Listing`.

    Raises:
        UserError: see `VideoFolder.sources`.
    """
    listing = Listing(root, expected)
    found = listing.media(root / folder.path for folder in folders)
    videos = [folder.sources(root, paths, layout) for folder, paths in zip(folders, found, strict=True)]
    return [source for sources in videos for source in sources], listing
