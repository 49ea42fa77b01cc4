"""FaceForensics++ (Rössler et al., ICCV 2019): 1,000 YouTube sequences and their forgeries by five methods.

A fake ``000_003.mp4`` shows the sequence 000 (target) with the face, or the expression, of 003 (donor). Each method
forges both orders of 500 pairs. A real sequence's identity is its number. The 1,000 sequences come from 977 YouTube
videos, so a few numbers are the same person.

The official lists (``dataset/splits`` in the FaceForensics repository) assign 360, 70 and 70 pairs to training,
validation and test. The download script does not fetch them. Without them no video has an official subset. The digest
of the lists was computed from commit e452f05 of the repository.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from deepfake_ms.datasets.listing import Listing, list_videos
from deepfake_ms.datasets.published import Published
from deepfake_ms.datasets.source import Corpus, Layout, VideoFolder, missing_names
from deepfake_ms.errors import UserError
from deepfake_ms.labels import CLASS_NAMES, FAKE, REAL

METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")
COMPRESSION_FOLDERS = {"c0": ("raw", "c0"), "c23": ("c23",), "c40": ("c40",)}
"""Compression → possible folder names; for c0 the name depends on the version of the download script."""
VIDEOS = 1000
"""Number of real sequences, and of forgeries by each method."""
SPLIT_DIGEST = "c5cf0437d31f99297ca171d40fd376410366abd87c5a4a410f4c8315a8263398"
SPLIT_FILES = {"train": "train.json", "validation": "val.json", "test": "test.json"}

LAYOUT = Layout(
    "FaceForensics++",
    f"""\
  original_sequences/youtube/COMPRESSION/videos/NNN.mp4           real
  manipulated_sequences/METHOD/COMPRESSION/videos/NNN_MMM.mp4     fake: target NNN, donor MMM
  splits/{" splits/".join(SPLIT_FILES.values())}      optional, from the FaceForensics repository
with METHOD {", ".join(METHODS)}
and COMPRESSION c0 (or raw), c23, c40""",
)

_ORIGINALS = "original_sequences/youtube"
_OTHER_CORPUS = "DeepFakeDetection"  # in the same tree, see `deepfake_ms.datasets.dfd`
_SPLIT_FOLDERS = ("splits", ".", "dataset/splits")


def find_corpus(root: Path, compression: str = "c23", methods: Sequence[str] | None = None) -> Corpus:
    """The real videos and the forgeries by `methods` in one compression.

    Args:
        root: the folder given to the download script.
        compression: ``c0`` (as good as lossless), ``c23`` (light) or ``c40`` (heavy).
        methods: some of `METHODS`; None takes all that are on disk.

    Raises:
        UserError: the tree is different, it lacks this compression or a method, a video's name does not give its
            identities, or the split files are incomplete, unreadable or contradict each other.
    """
    LAYOUT.require_folder(root)
    subsets = _read_splits(root)
    originals = VideoFolder(
        require_videos(root, _ORIGINALS, compression, LAYOUT),
        "youtube",
        CLASS_NAMES[REAL],
        "real",
        re.compile(r"(?P<target>\d+)"),
    )
    forgeries = [
        VideoFolder(
            path,
            method,
            CLASS_NAMES[FAKE],
            method,
            re.compile(r"(?P<target>\d+)_(?P<donor>\d+)"),
            source_video="youtube/{target}",
        )
        for method, path in _choose_methods(root, compression, methods).items()
    ]
    found, listing = list_videos(root, (originals, *forgeries), LAYOUT)
    manipulated = root / "manipulated_sequences"
    listing.ignore_outside(path for path in manipulated.iterdir() if path.name not in (*METHODS, _OTHER_CORPUS))
    sources = tuple(replace(source, official_subset=subsets.get(frozenset(source.identities))) for source in found)
    missing = missing_names(_listed_names(subsets, originals, forgeries), sources)
    videos = dict.fromkeys(("real", *(folder.method for folder in forgeries)), VIDEOS)
    pairs = [f"{subset} {' '.join(sorted(pair))}" for pair, subset in subsets.items() if len(pair) == 2]
    notes = Published("FaceForensics++", videos, list_digest=SPLIT_DIGEST).differences(root, sources, pairs)
    return Corpus(root, sources, missing, ignored=listing.ignored, links=listing.links, notes=notes)


def find_videos(root: Path, sequences: str, compression: str) -> str | None:
    """Folder of the videos of e.g. ``original_sequences/youtube``, relative to `root`; None if there are none.

    Raises:
        UserError: the compression is unknown, or there are two folders for it, one for each of its names.
    """
    if compression not in COMPRESSION_FOLDERS:
        raise UserError(
            f"data.options.compression: unknown value {compression!r}; choose one of {', '.join(COMPRESSION_FOLDERS)}."
        )
    paths = [f"{sequences}/{folder}/videos" for folder in COMPRESSION_FOLDERS[compression]]
    found = [path for path in paths if any(Listing(root).media([root / path]))]
    if len(found) > 1:
        raise UserError(f"{root} has {compression} videos in both {' and '.join(found)}: merge or move one of them.")
    return found[0] if found else None


def require_videos(root: Path, sequences: str, compression: str, layout: Layout) -> str:
    """Like `find_videos`, but raises if there are none.

    Raises:
        UserError: there are none; the message names the available compressions.
    """
    path = find_videos(root, sequences, compression)
    if path is None:
        others = [name for name in COMPRESSION_FOLDERS if find_videos(root, sequences, name)]
        available = f" (but {', '.join(others)})" if others else ""
        raise layout.error(f"{root} has no {compression} videos in {sequences}/{available}")
    return path


def _choose_methods(root: Path, compression: str, methods: Sequence[str] | None) -> dict[str, str]:
    """Method → folder of its videos."""
    found = {method: find_videos(root, f"manipulated_sequences/{method}", compression) for method in METHODS}
    available = {method: path for method, path in found.items() if path is not None}
    if not available:
        raise LAYOUT.error(f"{root} has no {compression} videos of any method in manipulated_sequences/")
    if methods is None:
        return available
    if not isinstance(methods, Sequence):
        raise UserError(f"data.options.methods={methods} is not a list: write e.g. [Deepfakes, Face2Face].")
    chosen = (methods,) if isinstance(methods, str) else tuple(map(str, methods))
    if not chosen or (lacking := [method for method in chosen if method not in available]):
        reason = f"{root} has no {compression} videos of {', '.join(lacking)}" if chosen else "the list is empty"
        raise UserError(f"data.options.methods: {reason}; choose from the available methods {', '.join(available)}.")
    return {method: available[method] for method in chosen}


def _read_splits(root: Path) -> dict[frozenset[str], str]:
    """Subset of each listed number and of each pair, in any order; empty without split files."""
    for folder in (root / name for name in _SPLIT_FOLDERS):
        lacking = [name for name in SPLIT_FILES.values() if not (folder / name).is_file()]
        if not lacking:
            return _subsets(folder)
        if len(lacking) < len(SPLIT_FILES):
            raise UserError(
                f"{folder} lacks {' and '.join(lacking)}: copy all of {', '.join(SPLIT_FILES.values())} from "
                "dataset/splits of the FaceForensics repository, or none."
            )
    return {}


def _subsets(folder: Path) -> dict[frozenset[str], str]:
    subsets: dict[frozenset[str], str] = {}
    for subset, name in SPLIT_FILES.items():
        for pair in _read_pairs(folder / name):
            for identities in (pair, pair[:1], pair[1:]):
                if subsets.setdefault(frozenset(identities), subset) != subset:
                    raise UserError(
                        f"{folder / name} names {' and '.join(identities)}, which another split file names too: "
                        "copy all three from dataset/splits of the FaceForensics repository."
                    )
    return subsets


def _read_pairs(path: Path) -> list[list[str]]:
    try:
        pairs = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        pairs = None
    if not isinstance(pairs, list) or not all(_is_pair(pair) for pair in pairs):
        raise UserError(
            f'{path} is not a list of pairs [["071", "054"], ...]: copy it from dataset/splits of the FaceForensics '
            "repository."
        )
    return pairs


def _is_pair(pair: object) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(isinstance(number, str) for number in pair)


def _listed_names(
    subsets: dict[frozenset[str], str], originals: VideoFolder, forgeries: Sequence[VideoFolder]
) -> dict[str, str]:
    """Video id -> name of all files that the split files imply."""
    names = {}
    for identities in subsets:
        if len(identities) == 1:
            videos = [(originals, "".join(identities))]
        else:
            one, other = sorted(identities)
            videos = [(folder, stem) for folder in forgeries for stem in (f"{one}_{other}", f"{other}_{one}")]
        names |= {f"{folder.name}/{stem}": f"{folder.path}/{stem}.mp4" for folder, stem in videos}
    return names
