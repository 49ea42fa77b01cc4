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
"""

import re
from dataclasses import replace
from pathlib import Path, PurePosixPath

from deepfake_ms.datasets.listing import Listing
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

_REAL, _FAKE = CLASS_NAMES[REAL], CLASS_NAMES[FAKE]
_FOLDERS = {
    folder.name: folder
    for folder in (
        VideoFolder("Celeb-real", "Celeb-real", _REAL, "real", re.compile(r"(?P<target>id\d+)_\d+")),
        VideoFolder(
            "YouTube-real", "YouTube-real", _REAL, "real", re.compile(r"(?P<target>\d+)"), identity="youtube_{}"
        ),
        VideoFolder(
            "Celeb-synthesis",
            "Celeb-synthesis",
            _FAKE,
            "celebdf_swap",
            re.compile(r"(?P<target>id\d+)_(?P<donor>id\d+)_(?P<number>\d+)"),
            source_video="Celeb-real/{target}_{number}",
        ),
    )
}
_LIST_LABELS = {"1": _REAL, "0": _FAKE}


def find_corpus(root: Path) -> Corpus:
    """The videos of a Celeb-DF tree. Videos in its test list get the official subset ``test``, the others none.

    Videos may have any suffix and lie in subfolders of the class folders: their names identify them.

    Raises:
        UserError: the root, a class folder or the test list is missing or empty, a video's name does not give its
            identities, or the list cannot be read or contradicts the folders.
    """
    LAYOUT.require_folder(root)
    listed = _read_test_list(root)
    listing = Listing(root, expected=(TEST_LIST, CORPUS_NAME))
    found = listing.media(root / name for name in _FOLDERS)
    listing.ignore_outside(path for path in root.iterdir() if path.name not in _FOLDERS)
    sources = tuple(
        replace(source, official_subset="test" if source.video_id in listed else None)
        for folder, paths in zip(_FOLDERS.values(), found, strict=True)
        for source in folder.sources(root, paths, LAYOUT)
    )
    return Corpus(root, sources, missing_names(listed, sources), ignored=listing.ignored, links=listing.links)


def _read_test_list(root: Path) -> dict[str, str]:
    """Video id -> name in the list."""
    path = root / TEST_LIST
    if not path.is_file():
        raise LAYOUT.error(f"{path} is missing")
    listed = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        flag, _, name = line.strip().partition(" ")
        folder = _FOLDERS.get(name.strip().split("/")[0])
        if folder is None or _LIST_LABELS.get(flag) != folder.label:
            raise UserError(
                f"{path}, line {number}, {line!r} is neither '1 FOLDER/VIDEO.mp4' for a real video nor "
                "'0 FOLDER/VIDEO.mp4' for a fake one: use the list that comes with the corpus."
            )
        listed[str(PurePosixPath(name.strip()).with_suffix(""))] = name.strip()
    if not listed:
        raise UserError(f"{path} is empty: use the list that comes with the corpus.")
    return listed
