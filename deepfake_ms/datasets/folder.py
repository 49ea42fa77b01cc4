"""Any folder of videos or images, labelled by class folders ``real/`` and ``fake/`` or unlabelled; or a CSV table."""

from pathlib import Path

from deepfake_ms.datasets import table
from deepfake_ms.datasets.source import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    Corpus,
    Layout,
    Source,
    id_and_frame,
    media_of,
    refuse_shared_ids,
)
from deepfake_ms.labels import CLASS_NAMES, UNLABELLED

LAYOUT = Layout(
    "a folder of your own",
    f"""\
  real/  fake/   videos ({" ".join(sorted(VIDEO_SUFFIXES))}) or images ({" ".join(sorted(IMAGE_SUFFIXES))}),
                 also in subfolders; images VIDEO_12.jpg, VIDEO_13.jpg belong to one video
or the same files without class folders, to be scored but not trained on
or, instead of the folder, a table FILE.csv with the columns path and label""",
)


def find_corpus(root: Path) -> Corpus:
    """The videos and images under `root`; hidden files and files of other types are ignored.

    If `root` contains a class folder (``real`` or ``fake``, in upper or lower case), only class folders are searched.
    An image named ``VIDEO_12.jpg`` is frame 12 of ``VIDEO``: everything before the last number is the video's name, as
    in DFDC's ``FAKEVIDEO_ORIGINALVIDEO_FRAME.jpg``. Identities and source videos are unknown. If `root` is a ``.csv``
    file, `deepfake_ms.datasets.table` reads it.

    Raises:
        UserError: `root` is missing or contains no video or image, two files claim the same frame of one video, or the
            table is invalid.
    """
    if root.suffix.lower() == ".csv" and not root.is_dir():
        return table.find_corpus(root)
    LAYOUT.require_folder(root)
    class_folders = [child for child in sorted(root.iterdir()) if child.is_dir() and child.name.lower() in CLASS_NAMES]
    searched = [(child, child.name.lower()) for child in class_folders] or [(root, UNLABELLED)]
    sources = [
        source
        for folder, label in searched
        for path in sorted(folder.rglob("*"))
        if (source := _source(path, root, label)) is not None
    ]
    if not sources:
        raise LAYOUT.error(f"{root} contains no video or image in the expected place")
    refuse_shared_ids(sources, "rename one of")
    return Corpus(root, tuple(sources))


def _source(path: Path, root: Path, label: str) -> Source | None:
    relative = path.relative_to(root)
    media = media_of(path)
    if media is None or any(part.startswith(".") for part in relative.parts) or not path.is_file():
        return None
    video_id, frame_index = id_and_frame(relative)
    return Source(
        path=path,
        name=relative.as_posix(),
        video_id=video_id,
        label=label,
        method=label,
        identities=(),
        source_video=None,
        official_subset=None,
        media=media,
        frame_index=frame_index,
    )
