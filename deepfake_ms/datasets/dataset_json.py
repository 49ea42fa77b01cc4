"""Frames and lists as DeepfakeBench and DF40 distribute them: folders of face crops, and ``dataset_json/*.json``.

A list has the form ``{name: {class: {subset: {video: {"label": class, "frames": [path, ...]}}}}}``; those of
FaceForensics++ and DeepFakeDetection have the compression between subset and video. Names of classes end in ``real`` or
``fake``, or name a method (``FF-DF``). The paths begin with folders of the machine on which the list was written. Here,
folders are found below the root by the end of their path, e.g. ``DF40/simswap/ff/frames`` or ``simswap/ff/frames``.

The lists of DeepfakeBench name many videos in several subsets: all videos of Celeb-DF are training videos, also those
of the test list, and all videos of DeepFakeDetection are in each subset (``preprocessing/rearrange.py`` of
github.com/SCLBD/DeepfakeBench). Here, such a video is in the test set, or in the validation set if no list has it in
the test set. Form and names were read there and in the README of github.com/YZY-stack/DF40. Users report lists of DF40
that differ from the folders in its archives (its issues 17, 28, 29, 36 and 41): videos without frames count as missing.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from deepfake_ms.datasets.listing import Listing
from deepfake_ms.datasets.source import SPLIT_FOLDERS, Corpus, Layout, Source, media_of, portable, refuse_shared_ids
from deepfake_ms.errors import UserError
from deepfake_ms.labels import CLASS_NAMES, FAKE, REAL

LIST_FOLDER = "dataset_json"
LAYOUT = Layout(
    "DeepfakeBench's frames and lists",
    f"""\
  {LIST_FOLDER}/NAME.json              {{name: {{class: {{subset: {{video: {{"frames": [path, ...]}}}}}}}}}}
  FOLDERS/VIDEO/FRAME.png             each folder below the root by the end of its path in the list""",
)
COMPRESSIONS = ("raw", "c23", "c40")

_CELEB_DF = re.compile(r"(id\d+)(?:_(id\d+))?_\d{4}(?:_.*)?")
_YOUTUBE = re.compile(r"\d{5}")
_FACEFORENSICS = re.compile(r"(\d{3})(?:_(\d{3}))?")
_DEEPFAKEDETECTION = re.compile(r"(\d+)(?:_(\d+))?__.+")
_NAMES = (_CELEB_DF, _FACEFORENSICS, _DEEPFAKEDETECTION)


@dataclass
class _Video:
    """A folder of frames, and all that the lists say about it."""

    method: str
    """``real`` for a real video."""
    listed_in: str
    subsets: set[str] = field(default_factory=set)
    frames: set[str] = field(default_factory=set)


def find_corpus(root: Path, lists: list[str] | None = None, compression: str = "c23") -> Corpus:
    """The videos in the lists whose frames are below `root`.

    Args:
        root: the folder with ``dataset_json`` and the folders of frames.
        lists: names of the lists without ``.json``, e.g. ``[simswap_ff, simswap_cdf]``; None: all.
        compression: ``raw``, ``c23`` or ``c40``, in lists that have several.

    Raises:
        UserError: a list is missing or unreadable or has another form, lists contradict each other, no frame is there,
            or folders of several methods end in the same path.
    """
    LAYOUT.require_folder(root)
    if compression not in COMPRESSIONS:
        raise UserError(f"data.options.compression={compression}: choose one of {', '.join(COMPRESSIONS)}.")
    listing = Listing(root)
    folders = _Folders(root, listing)
    videos: dict[PurePosixPath, _Video] = {}
    for path in _list_files(root, lists):
        for method, subset, frames in _entries(path, compression):
            for frame in frames:
                _add(videos, folders.find(frame.parent), frame.name, path.name, method, subset)
    sources, missing = [], []
    for folder, video in videos.items():
        names = folders.present(folder, video.frames)
        sources += [_source(root, folder, video, *each) for each in zip(names, _numbers(names), strict=True)]
        if not names:
            missing.append(portable(folder))
    if not sources:
        raise LAYOUT.error(f"{root} has no frame of the {len(videos)} listed videos, e.g. of {missing[0]}")
    refuse_shared_ids(sources, "remove one of")
    return Corpus(
        root,
        tuple(sources),
        tuple(sorted(missing)),
        links=listing.links,
        grouping=_grouping(sources),
        notes=_notes(videos, sources),
    )


def _list_files(root: Path, lists: list[str] | None) -> list[Path]:
    folder = root / LIST_FOLDER
    there = sorted(folder.glob("*.json"))
    if not there:
        raise LAYOUT.error(f"{folder} has no list: copy the JSON files into it")
    if lists is None:
        return there
    files = {path.stem: path for path in there}
    if unknown := [str(name) for name in lists if str(name) not in files]:
        raise UserError(
            f"data.options.lists: {folder} has no list {', '.join(unknown)}; it has {', '.join(sorted(files))}."
        )
    return [files[str(name)] for name in lists]


def _entries(path: Path, compression: str) -> Iterator[tuple[str, str, list[PurePosixPath]]]:
    """Method, subset and frames of each video in a list; without videos that have no frames.

    Raises:
        UserError: it cannot be read or has another form.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not readable as JSON ({error}): copy the list again.") from error
    for name, classes in _items(path, content):
        for class_name, subsets in _items(path, classes):
            for subset, videos in _items(path, subsets):
                if subset not in SPLIT_FOLDERS:
                    raise LAYOUT.error(f"{path}: the subset {subset!r} of {class_name} is not train, val or test")
                for video, entry in _of_compression(path, _items(path, videos), compression):
                    frames = entry.get("frames") if isinstance(entry, dict) else None
                    if not isinstance(frames, list) or not all(isinstance(each, str) for each in frames):
                        raise LAYOUT.error(f"{path}: the video {video!r} of {class_name} has no list of frames")
                    if frames:
                        yield _method(name, class_name), SPLIT_FOLDERS[subset], [_listed(each) for each in frames]


def _items(path: Path, level: Any) -> list[tuple[str, Any]]:
    if not isinstance(level, dict):
        raise LAYOUT.error(f"{path} has another form: {str(level)[:40]!r} is not a JSON object")
    return list(level.items())


def _of_compression(path: Path, videos: list[tuple[str, Any]], compression: str) -> list[tuple[str, Any]]:
    if not videos or any(name not in COMPRESSIONS for name, _ in videos):
        return videos
    if compression not in dict(videos):
        found = ", ".join(name for name, _ in videos)
        raise UserError(f"data.options.compression={compression}: {path} has only {found}.")
    return _items(path, dict(videos)[compression])


def _method(name: str, class_name: str) -> str:
    last = re.split(r"[-_]", class_name)[-1].lower()
    if last == CLASS_NAMES[REAL]:
        return CLASS_NAMES[REAL]
    return name if last == CLASS_NAMES[FAKE] else class_name


def _listed(frame: str) -> PurePosixPath:
    """The path in a list, perhaps written on Windows, without parts that could lead out of the root."""
    path = PurePosixPath(frame.replace("\\", "/"))
    return PurePosixPath(*(part for part in path.parts if part not in {path.anchor, ".", ".."}))


def _add(
    videos: dict[PurePosixPath, _Video], folder: PurePosixPath, frame: str, list_name: str, method: str, subset: str
) -> None:
    video = videos.setdefault(folder, _Video(method, list_name))
    if video.method != method:
        raise UserError(
            f"{folder} is {method} in {list_name}, but {video.method} in {video.listed_in}: select lists that agree "
            "with data.options.lists."
        )
    video.subsets.add(subset)
    video.frames.add(frame)


class _Folders:
    """Finds the folders of the lists below the root.

    The longest end of a listed path that is a folder below the root is taken. If two listed paths have the same end
    but differ in the part before it, the frames of one method would pass for those of another; this is an error.
    """

    def __init__(self, root: Path, listing: Listing) -> None:
        self._root, self._listing = root, listing
        self._found: dict[PurePosixPath, PurePosixPath] = {}
        self._owners: dict[PurePosixPath, PurePosixPath] = {}

    def find(self, video: PurePosixPath) -> PurePosixPath:
        """The folder of a listed video relative to the root; the listed one if it is not there.

        Raises:
            UserError: another listed folder was found at the same place.
        """
        if video.parent not in self._found:
            self._found[video.parent] = self._claim(video.parent)
        return self._found[video.parent] / video.name

    def present(self, folder: PurePosixPath, frames: Iterable[str]) -> list[str]:
        """The names of those frames that are images in the folder, sorted."""
        if not (self._root / folder).is_dir():
            return []
        self._listing.note_link(self._root / folder)
        there = {path.name: path for path in (self._root / folder).iterdir() if media_of(path) == "image"}
        names = sorted(there.keys() & set(frames))
        for name in names:
            self._listing.note_link(there[name])
        return names

    def _claim(self, listed: PurePosixPath) -> PurePosixPath:
        ends = (PurePosixPath(*listed.parts[start:]) for start in range(len(listed.parts)))
        found = next((end for end in ends if (self._root / end).is_dir()), None)
        if found is None:
            return listed
        owner = self._owners.setdefault(found, listed)
        if owner == listed:
            for above in reversed([found, *found.parents][:-1]):
                self._listing.note_link(self._root / above)
        elif len({path.parts[: -len(found.parts)][-1:] for path in (owner, listed)} - {()}) > 1:
            raise UserError(
                f"The lists name {owner} and {listed}, and both would be {self._root / found}: put each into its own "
                "folder below the root, with more of its path in the list."
            )
        return found


def _source(root: Path, folder: PurePosixPath, video: _Video, frame: str, number: int) -> Source:
    return Source(
        path=root / folder / frame,
        name=portable(folder / frame),
        video_id=portable(folder),
        label=CLASS_NAMES[REAL if video.method == CLASS_NAMES[REAL] else FAKE],
        method=video.method,
        identities=_identities(folder.name),
        source_video=None,
        official_subset=_strictest(video),
        media="image",
        frame_index=number,
    )


def _strictest(video: _Video) -> str:
    return next(subset for subset in ("test", "validation", "train") if subset in video.subsets)


def _identities(video: str) -> tuple[str, ...]:
    """The people in a video by its name, as in the layouts of Celeb-DF, FaceForensics++ and DeepFakeDetection.

    Any other name is an identity by itself: a real video and the fakes of the same name share it.
    """
    if match := next(filter(None, (names.fullmatch(video) for names in _NAMES)), None):
        return tuple(person for person in match.groups() if person)
    return (f"youtube_{video}",) if _YOUTUBE.fullmatch(video) else (video,)


def _numbers(names: list[str]) -> Iterable[int]:
    stems = [PurePosixPath(name).stem for name in names]
    return [int(stem) for stem in stems] if all(re.fullmatch(r"\d{1,9}", stem) for stem in stems) else range(len(names))


def _grouping(sources: list[Source]) -> list[dict[str, Any]]:
    videos = {source.video_id for source in sources}
    first = sources[0]
    example = f"{first.name} is frame {first.frame_index} of {first.video_id}"
    rule = "images in the JSON lists: their folder is the video"
    return [{"rule": rule, "images": len(sources), "videos": len(videos), "example": example}]


def _notes(videos: Mapping[PurePosixPath, _Video], sources: list[Source]) -> list[str]:
    repeated = Counter(_strictest(video) for video in videos.values() if len(video.subsets) > 1)
    notes = [
        f"The lists name {number:,} videos in several subsets; here they are only in the {subset} set."
        for subset, number in sorted(repeated.items())
    ]
    if absent := sum(len(video.frames) for video in videos.values()) - len(sources):
        notes.append(f"{absent:,} frames in the lists are not in their folders.")
    return notes
