"""Celeb-DF v1 and v2 (Li et al., CVPR 2020): celebrity interviews and their face swaps.

The file names give the identities: the fake ``id0_id1_0003.mp4`` is the real video ``id0_0003.mp4`` (target) with the
face of ``id1`` (donor). Each YouTube video shows a different person, so each gets its own identity. Both versions have
the same tree. Each comes with its own list of test videos and defines neither a training nor a validation set.

    =======  ==========  ============  ===============  ===========
    version  Celeb-real  YouTube-real  Celeb-synthesis  test videos
    =======  ==========  ============  ===============  ===========
    v1              158           250              795          100
    v2              590           300            5,639          518
    =======  ==========  ============  ===============  ===========

Sources: the READMEs in github.com/yuezunli/celeb-deepfakeforensics. They do not contain the lists. The digest of v2's
list was computed from the copy in github.com/AKASH2907/deepfakes_video_classification (commit e7e1780), with which the
labels in github.com/gilikn/FakeOut agree; no copy of v1's list was found.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from deepfake_ms.datasets.listing import list_videos
from deepfake_ms.datasets.published import Published
from deepfake_ms.datasets.source import CORPUS_NAME, Corpus, Layout, VideoFolder, missing_names
from deepfake_ms.errors import UserError
from deepfake_ms.labels import CLASS_NAMES, FAKE, REAL

TEST_LIST = "List_of_testing_videos.txt"

LAYOUT = Layout(
    "Celeb-DF",
    f"""\
  Celeb-real/idA_NNNN.mp4           real
  YouTube-real/NNNNN.mp4            real
  Celeb-synthesis/idA_idB_NNNN.mp4  fake: target A, donor B
  {TEST_LIST}        one "1 FOLDER/VIDEO.mp4" (real) or "0 FOLDER/VIDEO.mp4" (fake) per line""",
)
VERSIONS = (
    Published("Celeb-DF v1", {"real": 408, "fake": 795, "test": 100}),
    Published(
        "Celeb-DF v2",
        {"real": 890, "fake": 5639, "test": 518},
        list_digest="7c8233635857146f2e9057295d0f4c821377562a6d7906094fc1109989868b6c",
    ),
)

_REAL, _FAKE = CLASS_NAMES[REAL], CLASS_NAMES[FAKE]
REAL_FOLDERS = (
    VideoFolder("Celeb-real", "Celeb-real", _REAL, "real", re.compile(r"(?P<target>id\d+)_\d+")),
    VideoFolder("YouTube-real", "YouTube-real", _REAL, "real", re.compile(r"(?P<target>\d+)"), identity="youtube_{}"),
)
SWAPS = VideoFolder(
    "Celeb-synthesis",
    "Celeb-synthesis",
    _FAKE,
    "celebdf_swap",
    re.compile(r"(?P<target>id\d+)_(?P<donor>id\d+)_(?P<number>\d+)"),
    source_video="Celeb-real/{target}_{number}",
)
_LIST_LABELS = {"1": _REAL, "0": _FAKE}


def find_corpus(root: Path) -> Corpus:
    """The videos of a Celeb-DF tree. Videos in its test list get the official subset ``test``, the others none.

    Videos may have any suffix and lie in subfolders of the class folders: their names identify them. The length of the
    list tells the version.

    Raises:
        UserError: the root, a class folder or the test list is missing or empty, a video's name does not give its
            identities, or the list cannot be read or contradicts the folders.
    """
    LAYOUT.require_folder(root)
    return read_corpus(root, (*REAL_FOLDERS, SWAPS), LAYOUT, VERSIONS)


def read_corpus(
    root: Path,
    folders: Sequence[VideoFolder],
    layout: Layout,
    versions: Sequence[Published],
    absent: Sequence[VideoFolder] = (),
) -> Corpus:
    """The videos of `folders`, with the test list in `root`.

    Args:
        root: the corpus root.
        folders: all of them must contain videos.
        layout: for error messages.
        versions: the corpus is compared with the one whose number of test videos is nearest.
        absent: folders that the list may name although they are not in `root`.

    Raises:
        UserError: see `find_corpus`.
    """
    listed = _read_test_list(root, (*folders, *absent), layout)
    found, listing = list_videos(root, folders, layout, expected=(TEST_LIST, CORPUS_NAME))
    listing.ignore_all_but(root / folder.path for folder in folders)
    sources = tuple(replace(source, official_subset="test" if source.video_id in listed else None) for source in found)
    published = min(versions, key=lambda version: abs(version.videos["test"] - len(listed)))
    return Corpus(
        root,
        sources,
        missing_names(listed, sources),
        ignored=listing.ignored,
        links=listing.links,
        notes=published.differences(root, sources, listed),
    )


def _read_test_list(root: Path, folders: Sequence[VideoFolder], layout: Layout) -> dict[str, str]:
    """Video id -> name in the list."""
    path = root / TEST_LIST
    if not path.is_file():
        raise layout.error(f"{path} is missing")
    by_path = {folder.path: folder for folder in folders}
    listed = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        flag, _, name = line.strip().partition(" ")
        video = PurePosixPath(name.strip())
        folder = by_path.get(str(video.parent))
        if folder is None or _LIST_LABELS.get(flag) != folder.label:
            raise UserError(
                f"{path}, line {number}, {line!r} is neither '1 FOLDER/VIDEO.mp4' for a real video nor "
                "'0 FOLDER/VIDEO.mp4' for a fake one: use the list that comes with the corpus."
            )
        listed[f"{folder.name}/{video.stem}"] = str(video)
    if not listed:
        raise UserError(f"{path} is empty: use the list that comes with the corpus.")
    return listed
