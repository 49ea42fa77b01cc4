"""Types and helpers shared by all corpus layouts: `Source`, `Corpus`, file names and ids."""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

from PIL import Image

from deepfake_ms.errors import UserError
from deepfake_ms.labels import CLASS_NAMES, REAL

# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".3g2", ".3gp", ".asf", ".avi", ".f4v", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg",
    ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv",
})
"""A GIF counts as a video, of one frame if it is a still."""

IMAGE_SUFFIXES = frozenset(Image.registered_extensions()) & {
    ".avif", ".bmp", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif",
    ".tiff", ".webp",
}
"""Suffixes that the installed PIL can read; not HEIC, and not AVIF in older versions."""
# fmt: on

CORPUS_NAME = "corpus.json"
"""Description of a drawn corpus."""

PREPARED_NAME = "prepared.json"
"""Description of a folder of prepared faces, which may lie in a corpus but is no part of it."""

SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
"""Name of a folder, in lower case -> the official subset of the files in it."""

# Backslashes, control characters, and bytes that are not UTF-8 (which Python represents as lone surrogates).
_UNSAFE = re.compile(r"[\\\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class Source:
    """One video file or still image of a corpus.

    Raises:
        UserError: `video_id` does not stay inside the folder of the crops.
    """

    path: Path
    """Location of the file."""
    name: str
    """Path relative to the corpus root, see `portable`. A table may also name files outside its folder."""
    video_id: str
    """Unique in the corpus, e.g. ``Celeb-real/id0_0000``. The images of one video share it. Names the crops' folder."""
    label: str
    """``real``, ``fake`` or ``unlabelled``."""
    method: str
    """How a fake was made, e.g. ``celebdf_swap``; ``real`` for a real video."""
    identities: tuple[str, ...]
    """The people in it: one for a real video, target and donor for a fake; empty if unknown."""
    source_video: str | None
    """Video id of the real video that a fake was made from; None for real videos, if unknown or not in the corpus."""
    official_subset: str | None
    """Subset in the corpus's own lists: ``train``, ``validation`` or ``test``; None if not listed."""
    media: str
    """``video`` or ``image``."""
    frame_index: int = 0
    """Images only: position in their video."""

    def __post_init__(self) -> None:
        parts = self.video_id.split("/")
        if "\\" in self.video_id or PureWindowsPath(self.video_id).drive or {"", ".", ".."} & set(parts):
            raise UserError(
                f"{self.path}: the video id {self.video_id!r} cannot name a folder of crops: rename the video to a "
                "relative path with forward slashes, without '..' and drive letter."
            )


@dataclass(frozen=True)
class Corpus:
    """The files of a corpus."""

    root: Path
    """The top folder (or the table) as the user gave it."""
    sources: tuple[Source, ...]
    """All files, sorted by name."""
    missing: tuple[str, ...] = ()
    """Files that the corpus's own lists name but its folders lack, sorted."""
    synthetic: bool = False
    """Whether the corpus was drawn, according to its ``corpus.json``."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the layout, as the user gave them."""
    ignored: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Reason -> paths below the root that are not read, see `deepfake_ms.datasets.listing`."""
    links: Sequence[str] = ()
    """Followed links that lead out of the root."""
    grouping: Sequence[Mapping[str, Any]] = ()
    """How images are grouped into videos, see `deepfake_ms.datasets.grouping.group_images`."""
    notes: Sequence[str] = ()
    """Sentences that the user should read before training on the corpus."""


@dataclass(frozen=True)
class Layout:
    """The expected tree of a corpus, for error messages."""

    corpus: str
    """The corpus's name."""
    tree: str
    """Locations of its files, one per line."""

    def error(self, reason: str) -> UserError:
        """An error that states `reason` and shows the expected tree."""
        return UserError(f"{reason}; the layout of {self.corpus} is:\n{self.tree}")

    def require_folder(self, root: Path) -> None:
        """Check that the corpus root is a folder.

        Raises:
            UserError: `root` does not exist or is a file.
        """
        if not root.is_dir():
            reason = "is a file, not a folder" if root.is_file() else "does not exist"
            raise self.error(f"The corpus root {root} {reason}")


@dataclass(frozen=True)
class VideoFolder:
    """A folder of videos of one label and method, whose file names give the identities."""

    path: str
    """Relative to the corpus root, e.g. ``original_sequences/youtube/c23/videos``."""
    name: str
    """Prefix of the video ids, e.g. ``youtube``."""
    label: str
    method: str
    stem: re.Pattern[str]
    """Matches every file name without its suffix. The groups ``target`` and, in a fake, ``donor`` are identities."""
    identity: str = "{}"
    """Template that turns a group into an identity, e.g. ``youtube_{}``."""
    source_video: str | None = None
    """Template that turns the groups into the `source_video` of a fake, e.g. ``youtube/{target}``."""

    def sources(self, root: Path, paths: Sequence[Path], layout: Layout) -> list[Source]:
        """The videos in this folder and its subfolders, with no official subset yet.

        Args:
            root: the corpus root.
            paths: the files that were found in the folder; images among them are skipped.
            layout: for error messages.

        Raises:
            UserError: there are none, a video's name does not give its identities, or two videos have the same name.
        """
        videos = [self._source(path, root, layout) for path in paths if media_of(path) == "video"]
        if not videos:
            raise layout.error(f"{root} has no videos in {self.path}/")
        refuse_shared_ids(videos, "remove one of")
        return videos

    def _source(self, path: Path, root: Path, layout: Layout) -> Source:
        match = self.stem.fullmatch(path.stem)
        if match is None:
            raise layout.error(f"The name of {path} does not identify the people in it: rename or remove it")
        groups = match.groupdict()
        return Source(
            path=path,
            name=portable(path.relative_to(root)),
            video_id=f"{self.name}/{path.stem}",
            label=self.label,
            method=self.method,
            identities=tuple(self.identity.format(groups[name]) for name in ("target", "donor") if name in groups),
            source_video=self.source_video and self.source_video.format(**groups),
            official_subset=None,
            media="video",
        )


def is_synthetic(root: Path) -> bool:
    """Whether `CORPUS_NAME` marks the corpus as drawn; a foreign file of that name is ignored."""
    try:
        description = json.loads((root / CORPUS_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(description, dict) and description.get("synthetic") is True


def missing_names(listed: Mapping[str, str], sources: Iterable[Source]) -> tuple[str, ...]:
    """The names in a corpus's own list (video id -> name) whose video is not among `sources`, sorted."""
    found = {source.video_id for source in sources}
    return tuple(sorted(name for video_id, name in listed.items() if video_id not in found))


def media_of(path: PurePath) -> str | None:
    """``video`` or ``image`` by the suffix, None for any other file."""
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return "video"
    return "image" if suffix in IMAGE_SUFFIXES else None


def portable(path: PurePath) -> str:
    """A relative path as text with forward slashes that every file system and the manifest can hold.

    Backslashes, control characters and bytes that are not UTF-8 are written as in URLs, e.g. ``caf%E9.mp4``.
    """
    text = _UNSAFE.sub(lambda match: "".join(f"%{byte:02X}" for byte in os.fsencode(match[0])), path.as_posix())
    return text.replace(":", "%3A", 1) if PureWindowsPath(text).drive else text


def file_id(path: PurePath) -> str:
    """The video id of a file that is a video of its own: its relative path without suffix."""
    return portable(path.with_suffix(""))


def drop_absent_source_videos(sources: Iterable[Source]) -> list[Source]:
    """Set `source_video` to None where it is not a real video among `sources`."""
    sources = list(sources)
    kept = {None, *(source.video_id for source in sources if source.label == CLASS_NAMES[REAL])}
    return [source if source.source_video in kept else replace(source, source_video=None) for source in sources]


def refuse_shared_ids(sources: Sequence[Source], remedy: str) -> None:
    """Check that each video id belongs to one video file, or to images with different frame numbers.

    Args:
        sources: all files of the corpus.
        remedy: what to do, e.g. ``rename one of``; the names of the first files follow.

    Raises:
        UserError: several files claim the same video, or the same frame of it.
    """
    ordered = sorted(sources, key=lambda source: (source.video_id, source.name))
    for video_id, group in groupby(ordered, key=lambda source: source.video_id):
        files = list(group)
        frames = {source.frame_index for source in files}
        if len(files) > 1 and (len(frames) < len(files) or any(source.media == "video" for source in files)):
            names = ", ".join(source.name for source in files[:5])
            raise UserError(f"Several files claim to be video {video_id}: {remedy} {names}.")
