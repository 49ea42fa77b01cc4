"""The test set of the DeepFake Detection Challenge (Dolhansky et al., 2020): 5,000 clips, half of them fake.

``labels.csv`` gives each clip's label. People and originals are not identified, and all clips are the official subset
``test``. This is the set on which detectors are compared, not a part of Kaggle's training set.

The publisher distributes the set on ai.meta.com/datasets/dfdc to those who register; no page of the publisher that
shows its content was found. Tree, columns and numbers were read in repositories that use it
(github.com/SCLBD/DeepfakeBench, its issues 25 and 63, and github.com/mapooon/SelfBlendedImages).
"""

import csv
from pathlib import Path, PurePosixPath

from deepfake_ms.datasets.listing import UNLISTED, Listing
from deepfake_ms.datasets.published import Published
from deepfake_ms.datasets.source import Corpus, Layout, Source, media_of, missing_names, portable, refuse_shared_ids
from deepfake_ms.errors import UserError
from deepfake_ms.labels import CLASS_NAMES, REAL

CLIP_LIST = "labels.csv"

LAYOUT = Layout(
    "DFDC's test set",
    f"""\
  {CLIP_LIST}   with the columns filename and label, which is 0 (real) or 1 (fake)
  CLIP.mp4     also in subfolders""",
)
PUBLISHED = Published("DFDC's test set", {"real": 2500, "fake": 2500}, according_to="DeepfakeBench")

_LABELS = {str(number): name for number, name in enumerate(CLASS_NAMES)}


def find_corpus(root: Path) -> Corpus:
    """The clips that ``labels.csv`` lists.

    Raises:
        UserError: the tree is different, ``labels.csv`` is missing, unreadable or contradicts itself, or two files have
            the name of one clip.
    """
    LAYOUT.require_folder(root)
    labels, names = _read_labels(root / CLIP_LIST)
    listing = Listing(root, expected=(CLIP_LIST, "metadata.json"))
    sources = []
    for path in (path for path in listing.media([root])[0] if media_of(path) == "video"):
        if path.stem in labels:
            sources.append(_source(path, root, labels[path.stem]))
        else:
            listing.ignore(UNLISTED, path)
    if not sources:
        raise LAYOUT.error(f"{root} has none of the {len(names)} clips that its {CLIP_LIST} lists")
    refuse_shared_ids(sources, "remove one of")
    return Corpus(
        root,
        tuple(sources),
        missing_names(names, sources),
        ignored=listing.ignored,
        links=listing.links,
        notes=PUBLISHED.differences(root, sources),
    )


def _read_labels(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Label and name of each video id."""
    if not path.is_file():
        raise LAYOUT.error(f"{path} is missing")
    labels: dict[str, str] = {}
    names: dict[str, str] = {}
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            name, label = row.get("filename"), _LABELS.get(row.get("label"))
            if not name or label is None:
                raise LAYOUT.error(f"{path}, row {number}, has no filename, or no label 0 or 1")
            video_id = PurePosixPath(name).stem
            if labels.setdefault(video_id, label) != label:
                raise UserError(f"{path}, row {number}: {name} is both real and fake: extract the list again.")
            names[video_id] = name
    return labels, names


def _source(path: Path, root: Path, label: str) -> Source:
    return Source(
        path=path,
        name=portable(path.relative_to(root)),
        video_id=path.stem,
        label=label,
        method="real" if label == CLASS_NAMES[REAL] else "dfdc",
        identities=(),
        source_video=None,
        official_subset="test",
        media="video",
    )
