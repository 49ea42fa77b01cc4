"""Celeb-DF-v2 (Li et al., CVPR 2020): celebrity interviews and their face swaps.

The file names carry the identities: a fake ``id0_id1_0003.mp4`` is the real video ``id0_0003.mp4`` (target) with the
face of ``id1`` (donor) put in. The YouTube videos show one-off people, so each is an identity of its own.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deepfake_ms.datasets.source import Corpus, Source, require_folder
from deepfake_ms.errors import UserError
from deepfake_ms.labels import CLASS_NAMES, FAKE, REAL

TEST_LIST = "List_of_testing_videos.txt"

EXPECTED_TREE = f"""\
  Celeb-real/idA_NNNN.mp4           real
  YouTube-real/NNNNN.mp4            real
  Celeb-synthesis/idA_idB_NNNN.mp4  fake: target A, donor B
  {TEST_LIST}        one "1 FOLDER/VIDEO.mp4" (real) or "0 FOLDER/VIDEO.mp4" (fake) a line"""


@dataclass(frozen=True)
class _ClassFolder:
    """One of the three folders: what its videos are and how their names read."""

    label: str
    method: str
    stem: re.Pattern[str]
    identities: Callable[[re.Match[str]], tuple[str, ...]]


_REAL, _FAKE = CLASS_NAMES[REAL], CLASS_NAMES[FAKE]
_CLASS_FOLDERS = {
    "Celeb-real": _ClassFolder(_REAL, "real", re.compile(r"(id\d+)_\d+"), lambda match: (match[1],)),
    "YouTube-real": _ClassFolder(_REAL, "real", re.compile(r"(\d+)"), lambda match: (f"youtube_{match[1]}",)),
    "Celeb-synthesis": _ClassFolder(
        _FAKE, "celebdf_swap", re.compile(r"(id\d+)_(id\d+)_\d+"), lambda match: (match[1], match[2])
    ),
}
_LIST_LABELS = {"1": _REAL, "0": _FAKE}


def find_corpus(root: Path) -> Corpus:
    """The videos of a Celeb-DF-v2 tree.

    Raises:
        UserError: the root, a class folder or the test list is missing or empty, a video's name does not give its
            identities, or the list cannot be read or contradicts the folders.
    """
    require_folder(root, EXPECTED_TREE)
    listed = _read_test_list(root)
    sources = [source for name in _CLASS_FOLDERS for source in _sources_of_class(root, name, listed)]
    return Corpus(root, tuple(sources), tuple(sorted(listed - {source.name for source in sources})))


def _sources_of_class(root: Path, folder_name: str, listed: set[str]) -> list[Source]:
    kind = _CLASS_FOLDERS[folder_name]
    paths = [path for path in (root / folder_name).glob("*.mp4") if not path.name.startswith(".")]
    if not paths:
        raise UserError(f"{root} has no videos in {folder_name}/; the Celeb-DF-v2 layout is:\n{EXPECTED_TREE}")
    sources = []
    for path in paths:
        match = kind.stem.fullmatch(path.stem)
        if match is None:
            raise UserError(
                f"{path} does not say who is in it: rename or remove it; the Celeb-DF-v2 layout is:\n{EXPECTED_TREE}"
            )
        name = f"{folder_name}/{path.name}"
        sources.append(
            Source(
                path=path,
                name=name,
                video_id=f"{folder_name}/{path.stem}",
                label=kind.label,
                method=kind.method,
                identities=kind.identities(match),
                official_side="test" if name in listed else None,
                media="video",
            )
        )
    return sources


def _read_test_list(root: Path) -> set[str]:
    path = root / TEST_LIST
    if not path.is_file():
        raise UserError(f"{path} is missing; the Celeb-DF-v2 layout is:\n{EXPECTED_TREE}")
    listed = set()
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        flag, _, name = line.strip().partition(" ")
        kind = _CLASS_FOLDERS.get(name.strip().split("/")[0])
        if kind is None or _LIST_LABELS.get(flag) != kind.label:
            raise UserError(
                f"{path}, line {number}, {line!r} is not '1 FOLDER/VIDEO.mp4' for a real or '0 FOLDER/VIDEO.mp4' "
                "for a fake video: take the list that came with the corpus."
            )
        listed.add(name.strip())
    if not listed:
        raise UserError(f"{path} is empty: take the list that came with the corpus.")
    return listed
