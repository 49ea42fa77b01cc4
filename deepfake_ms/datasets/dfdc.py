"""The training set of the DeepFake Detection Challenge (Dolhansky et al., 2020): about 119,000 clips in 50 parts.

Each part has a ``metadata.json`` that lists its clips, their labels and, for each fake, the real clip it was made from.
The metadata does not identify the people in a clip. The real clip's name serves as the identity, so that a fake and its
original always fall into the same subset; two clips of one person can still fall into different subsets.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from deepfake_ms.datasets.source import Corpus, Layout, Source, list_videos
from deepfake_ms.errors import UserError
from deepfake_ms.labels import CLASS_NAMES, FAKE, REAL

METADATA = "metadata.json"

LAYOUT = Layout(
    "DFDC",
    f"""\
  dfdc_train_part_N/{METADATA}   {{"CLIP.mp4": {{"label": "FAKE" or "REAL", "split": "train", "original": "CLIP.mp4"}}}}
  dfdc_train_part_N/CLIP.mp4
with any number of parts; a single part may also be the root""",
)

_LABELS = {"REAL": CLASS_NAMES[REAL], "FAKE": CLASS_NAMES[FAKE]}
_SUBSETS = {None, "train", "validation", "test"}


def find_corpus(root: Path) -> Corpus:
    """The clips of all parts in `root`.

    The metadata's ``split`` becomes the official subset only if it takes more than one value over all parts. In
    Kaggle's 50 parts it is always ``train``, which divides nothing.

    Raises:
        UserError: the tree is different, a part's metadata is missing or unreadable, an entry has an unknown label or
            split, or a part contains clips that its metadata does not list.
    """
    LAYOUT.require_folder(root)
    clips: dict[Path, dict[str, Any]] = {}
    missing: list[str] = []
    for part in _parts(root):
        metadata = _read_metadata(part / METADATA)
        paths = {path.name: path for path in list_videos(part)}
        if unlisted := sorted(paths.keys() - metadata.keys()):
            raise UserError(
                f"{part / METADATA} does not list {len(unlisted)} of the clips in its folder, e.g. {unlisted[0]}: put "
                "each part into its own folder, together with its own metadata."
            )
        clips |= {paths[name]: entry for name, entry in metadata.items() if name in paths}
        missing += [(part / name).relative_to(root).as_posix() for name in metadata if name not in paths]
    if not clips:
        raise LAYOUT.error(f"{root} has none of the {len(missing)} clips that its metadata lists")
    originals = _real_clips(clips, root)
    sources = [_source(path, root, entry, originals) for path, entry in clips.items()]
    if len({source.official_subset for source in sources} - {None}) < 2:
        sources = [replace(source, official_subset=None) for source in sources]
    return Corpus(root, tuple(sources), tuple(sorted(missing)))


def _parts(root: Path) -> list[Path]:
    if (root / METADATA).is_file():
        return [root]
    folders = [folder for folder in sorted(root.iterdir()) if folder.is_dir() and not folder.name.startswith(".")]
    parts = [folder for folder in folders if (folder / METADATA).is_file()]
    if not parts:
        raise LAYOUT.error(f"Neither {root} nor a folder in it has a {METADATA}")
    if unlabelled := [folder for folder in folders if folder not in parts and list_videos(folder)]:
        raise LAYOUT.error(f"{unlabelled[0]} has clips but no {METADATA}")
    return parts


def _read_metadata(path: Path) -> dict[str, dict[str, Any]]:
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not readable as JSON ({error}): extract it again from its archive.") from error
    if not isinstance(metadata, dict):
        raise LAYOUT.error(f"{path} is not a table of clips")
    for name, entry in metadata.items():
        if not isinstance(entry, dict) or entry.get("label") not in _LABELS or entry.get("split") not in _SUBSETS:
            raise LAYOUT.error(
                f"{path}: the entry of {name} needs the label FAKE or REAL, and train, validation, test or no split"
            )
    return metadata


def _real_clips(clips: Mapping[Path, Mapping[str, Any]], root: Path) -> dict[str, str]:
    """Name without suffix → video id of each real clip, without names that occur in several parts."""
    paths = [path for path, entry in clips.items() if entry["label"] == "REAL"]
    occurrences = Counter(path.stem for path in paths)
    return {path.stem: _video_id(path, root) for path in paths if occurrences[path.stem] == 1}


def _source(path: Path, root: Path, entry: Mapping[str, Any], originals: Mapping[str, str]) -> Source:
    label = _LABELS[entry["label"]]
    original = entry.get("original")
    original = Path(original).stem if isinstance(original, str) and original else path.stem
    return Source(
        path=path,
        name=path.relative_to(root).as_posix(),
        video_id=_video_id(path, root),
        label=label,
        method="real" if label == CLASS_NAMES[REAL] else "dfdc",
        identities=(original,),
        source_video=originals.get(original) if label == CLASS_NAMES[FAKE] else None,
        official_subset=entry.get("split"),
        media="video",
    )


def _video_id(path: Path, root: Path) -> str:
    return path.relative_to(root).with_suffix("").as_posix()
