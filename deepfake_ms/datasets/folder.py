"""Any folder of videos or images: class folders ``real/`` and ``fake/``, or no labels at all."""

import re
from itertools import groupby
from pathlib import Path

from deepfake_ms.datasets.source import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Corpus, Source, require_folder
from deepfake_ms.errors import UserError
from deepfake_ms.labels import CLASS_NAMES, UNLABELLED

EXPECTED_TREE = f"""\
  real/  fake/   videos ({" ".join(sorted(VIDEO_SUFFIXES))}) or images ({" ".join(sorted(IMAGE_SUFFIXES))}),
                 also in subfolders; images VIDEO_12.jpg, VIDEO_13.jpg belong to one video
or the same files without class folders, which can be prepared and scored but not trained on"""

# Nine digits at most, so that a date or time stamp never overflows the manifest's 32-bit frame index.
_NUMBERED_IMAGE = re.compile(r"(.+)_(\d{1,9})")


def find_corpus(root: Path) -> Corpus:
    """The videos and images under `root`; hidden files and other kinds of file are passed over.

    With a class folder at the top (``real`` or ``fake``, in any case), only class folders are searched. An image
    named ``VIDEO_12.jpg`` is frame 12 of ``VIDEO``: everything before the last number is the video's name, as in
    DFDC's ``FAKEVIDEO_ORIGINALVIDEO_FRAME.jpg``. Identities are unknown here.

    Raises:
        UserError: `root` is missing or holds no video or image, or two files claim the same frame of one video.
    """
    require_folder(root, EXPECTED_TREE)
    class_folders = [child for child in sorted(root.iterdir()) if child.is_dir() and child.name.lower() in CLASS_NAMES]
    searched = [(child, child.name.lower()) for child in class_folders] or [(root, UNLABELLED)]
    sources = [
        source
        for folder, label in searched
        for path in sorted(folder.rglob("*"))
        if (source := _source(path, root, label)) is not None
    ]
    if not sources:
        raise UserError(f"{root} holds no video or image where expected:\n{EXPECTED_TREE}")
    _refuse_shared_ids(sources)
    return Corpus(root, tuple(sources))


def _source(path: Path, root: Path, label: str) -> Source | None:
    relative = path.relative_to(root)
    suffix = path.suffix.lower()
    if suffix not in VIDEO_SUFFIXES | IMAGE_SUFFIXES or any(part.startswith(".") for part in relative.parts):
        return None
    if not path.is_file():
        return None
    video_id, frame_index = relative.with_suffix("").as_posix(), 0
    if suffix in IMAGE_SUFFIXES and (match := _NUMBERED_IMAGE.fullmatch(path.stem)):
        video_id, frame_index = (relative.parent / match[1]).as_posix(), int(match[2])
    return Source(
        path=path,
        name=relative.as_posix(),
        video_id=video_id,
        label=label,
        method=label,
        identities=(),
        official_side=None,
        media="video" if suffix in VIDEO_SUFFIXES else "image",
        frame_index=frame_index,
    )


def _refuse_shared_ids(sources: list[Source]) -> None:
    """One video file, or any number of differently numbered images, may stand for one video."""
    ordered = sorted(sources, key=lambda source: (source.video_id, source.name))
    for video_id, group in groupby(ordered, key=lambda source: source.video_id):
        files = list(group)
        frames = {source.frame_index for source in files}
        if len(files) > 1 and (len(frames) < len(files) or any(source.media == "video" for source in files)):
            names = ", ".join(source.name for source in files[:5])
            raise UserError(
                f"Several files of {files[0].path.parent} claim to be video {video_id}: rename one of {names}."
            )
