"""Any folder of videos or images, labelled by class folders ``real/`` and ``fake/`` or unlabelled; or a CSV table."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path, PurePosixPath

from deepfake_ms.datasets import table
from deepfake_ms.datasets.grouping import group_images
from deepfake_ms.datasets.listing import Listing
from deepfake_ms.datasets.source import (
    CORPUS_NAME,
    IMAGE_SUFFIXES,
    SPLIT_FOLDERS,
    VIDEO_SUFFIXES,
    Corpus,
    Layout,
    Source,
    file_id,
    media_of,
    portable,
    refuse_shared_ids,
)
from deepfake_ms.errors import UserError
from deepfake_ms.labels import CLASS_NAMES, UNLABELLED

LAYOUT = Layout(
    "a folder of your own",
    f"""\
  real/  fake/   videos ({" ".join(sorted(VIDEO_SUFFIXES))}) or images ({" ".join(sorted(IMAGE_SUFFIXES))}),
                 also in subfolders; images VIDEO/12.jpg, VIDEO/13.jpg or VIDEO_12.jpg, VIDEO_13.jpg belong to one video
  or train/real/  train/fake/  valid/real/  ...   with the official split
or the same files without class folders, to be scored but not trained on
or, instead of the folder, a table FILE.csv with the columns path and label""",
)


def find_corpus(root: Path, video_pattern: str | None = None) -> Corpus:
    """The videos and images under `root`; `Corpus.ignored` lists everything else in it.

    A class folder is called ``real`` or ``fake``, in upper or lower case. Class folders lie in `root` or in a folder of
    a split (`SPLIT_FOLDERS`); a class folder may also contain folders of splits. The split becomes the official subset.
    If there are class folders, only these are searched. Identities and source videos are unknown. If `root` is a
    ``.csv`` file, `deepfake_ms.datasets.table` reads it.

    Args:
        root: the top folder, or a table.
        video_pattern: how the images of a video are named; None: see `deepfake_ms.datasets.grouping.group_images`.

    Raises:
        UserError: `root` is missing or contains no video or image, two files claim the same frame of one video, the
            pattern is invalid or joins images of different labels, or the table is invalid.
    """
    if root.suffix.lower() == ".csv" and not root.is_dir():
        return table.find_corpus(root, video_pattern)
    LAYOUT.require_folder(root)
    class_folders = _class_folders(root)
    listing = Listing(root, expected=(CORPUS_NAME,))
    found = listing.media([folder for folder, _ in class_folders] or [root])
    if class_folders:
        listing.ignore_all_but(folder for folder, _ in class_folders)
    labels = [label for _, label in class_folders] or [UNLABELLED]
    files = [(path, label) for paths, label in zip(found, labels, strict=True) for path in paths]
    if not files:
        raise LAYOUT.error(f"{root} contains no video or image in the expected place")
    names = [PurePosixPath(portable(path.relative_to(root))) for path, _ in files]
    images = [name for name in names if media_of(name) == "image"]
    numbered, grouping = group_images(images, video_pattern)
    videos = dict(zip(images, numbered, strict=True))
    claims = Counter(file_id(name) for name in names if name not in videos)
    claims.update({video_id for video_id, _ in numbered})
    for name in names:
        if name not in videos:  # a video file; with its suffix, if its name alone is ambiguous
            videos[name] = (file_id(name) if claims[file_id(name)] == 1 else str(name)), 0
    sources = [
        _source(path, root, name, label, *videos[name]) for (path, label), name in zip(files, names, strict=True)
    ]
    refuse_shared_ids(sources, "rename one of" if video_pattern is None else "change data.options.video_pattern for")
    _refuse_contradictions(sources)
    return Corpus(
        root,
        tuple(sources),
        ignored=listing.ignored,
        links=listing.links,
        grouping=grouping,
        notes=[*([] if class_folders else [_explain_unlabelled(root, sources)]), *_note_copies(names)],
    )


def _class_folders(root: Path) -> list[tuple[Path, str]]:
    """The class folders in `root` and in its folders of splits, with their labels."""
    children = [child for child in sorted(root.iterdir()) if child.is_dir()]
    splits = [child for child in children if child.name.lower() in SPLIT_FOLDERS]
    candidates = children + [folder for split in splits for folder in sorted(split.iterdir()) if folder.is_dir()]
    return [(folder, folder.name.lower()) for folder in candidates if folder.name.lower() in CLASS_NAMES]


def _source(path: Path, root: Path, name: PurePosixPath, label: str, video_id: str, frame_index: int) -> Source:
    # The folders above or below the class folder: train/real/a.mp4, real/train/a.mp4.
    folders = [part.lower() for part in path.relative_to(root).parts[:-1][:2]]
    return Source(
        path=path,
        name=str(name),
        video_id=video_id,
        label=label,
        method=label,
        identities=(),
        source_video=None,
        official_subset=next((SPLIT_FOLDERS[part] for part in folders if part in SPLIT_FOLDERS), None),
        media=media_of(path),
        frame_index=frame_index,
    )


def _note_copies(names: Sequence[PurePosixPath]) -> list[str]:
    """A note on files that may be copies of each other in several formats."""
    claims = Counter(file_id(name) for name in names)
    copies = [str(name) for name in names if claims[file_id(name)] > 1]
    if not copies:
        return []
    return [
        f"{len(copies)} files differ from others only in their suffix, e.g. {', '.join(copies[:2])}: each counts as a "
        "video of its own; remove copies, because a split by video may divide them."
    ]


def _refuse_contradictions(sources: Sequence[Source]) -> None:
    ordered = sorted(sources, key=lambda source: source.video_id)
    for video_id, group in groupby(ordered, key=lambda source: source.video_id):
        first, *others = group
        for other in others:
            if (other.label, other.official_subset) != (first.label, first.official_subset):
                raise UserError(
                    f"data.options.video_pattern puts {first.name} and {other.name} into one video {video_id}, but "
                    "their folders differ in class or subset: let the group video include those folders."
                )


def _explain_unlabelled(root: Path, sources: Sequence[Source]) -> str:
    """A note on why the files have no label, with the remedy."""
    for source in sources:
        parts = PurePosixPath(source.name).parent.parts
        for depth, part in enumerate(parts):
            if part.lower() in CLASS_NAMES:
                above = depth - (depth > 0 and parts[depth - 1].lower() in SPLIT_FOLDERS)
                return (
                    f"All files are unlabelled, because the folders real and fake lie too deep in {root}: "
                    f"set data.root to {root.joinpath(*parts[:above])}."
                )
    return (
        f"All files are unlabelled, because {root} has no folder real or fake: they can be prepared and scored, "
        "but not trained on."
    )
