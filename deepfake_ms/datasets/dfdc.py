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

from deepfake_ms.datasets.listing import Listing
from deepfake_ms.datasets.source import Corpus, Layout, Source, file_id, media_of, portable, refuse_shared_ids
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
_SUBSETS = (None, "train", "validation", "test")  # no set: an entry may hold anything


def find_corpus(root: Path) -> Corpus:
    """The clips of all parts in `root`.

    The metadata's ``split`` becomes the official subset only if it takes more than one value over all parts. In
    Kaggle's 50 parts it is always ``train``.

    Raises:
        UserError: the tree is different, a part's metadata is missing or unreadable, an entry has an unknown label or
            split, or a part contains clips that its metadata does not list.
    """
    LAYOUT.require_folder(root)
    parts = _parts(root)
    listing = Listing(root, expected=(METADATA,))
    clips: dict[Path, dict[str, Any]] = {}
    ids: dict[Path, str] = {}
    missing: list[str] = []
    for part, found in zip(parts, listing.media(parts), strict=True):
        metadata = _read_metadata(part / METADATA)
        paths = [path for path in found if media_of(path) == "video"]
        listed = {Path(name).stem: entry for name, entry in metadata.items()}
        if unlisted := [path.name for path in paths if path.stem not in listed]:
            raise UserError(
                f"{part / METADATA} does not list {len(unlisted)} of the clips in its folder, e.g. {unlisted[0]}: put "
                "each part into its own folder, together with its own metadata."
            )
        clips |= {path: listed[path.stem] for path in paths}
        ids |= {path: file_id(part.relative_to(root) / path.name) for path in paths}
        stems = {path.stem for path in paths}
        missing += [portable((part / name).relative_to(root)) for name in metadata if Path(name).stem not in stems]
    if not clips:
        raise LAYOUT.error(f"{root} has none of the {len(missing)} clips that its metadata lists")
    originals = _real_clips(clips, ids)
    sources = [_source(path, root, ids[path], entry, originals) for path, entry in clips.items()]
    refuse_shared_ids(sources, "remove one of")
    if len({source.official_subset for source in sources} - {None}) < 2:
        sources = [replace(source, official_subset=None) for source in sources]
    if parts != [root]:
        listing.ignore_outside(path for path in root.iterdir() if not any(part.is_relative_to(path) for part in parts))
    return Corpus(root, tuple(sources), tuple(sorted(missing)), ignored=listing.ignored, links=listing.links)


def _parts(root: Path) -> list[Path]:
    """The folders with metadata: the root, or folders in it, or in these (some tools extract archives that way)."""
    if (root / METADATA).is_file():
        return [root]
    folders = _subfolders(root)
    nested = {folder: [folder] if (folder / METADATA).is_file() else _subfolders(folder) for folder in folders}
    parts = {folder: [each for each in found if (each / METADATA).is_file()] for folder, found in nested.items()}
    if not any(parts.values()):
        raise LAYOUT.error(f"Neither {root} nor a folder in it has a {METADATA}")
    for folder in folders:
        if not parts[folder] and any(media_of(path) for path in folder.rglob("*")):
            raise LAYOUT.error(f"{folder} has clips but no {METADATA}")
    return [part for found in parts.values() for part in found]


def _subfolders(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]


def read_clips(path: Path, layout: Layout) -> dict[str, Any]:
    """Entry of each clip in a JSON file.

    Raises:
        UserError: the file is no JSON, or no table.
    """
    try:
        clips = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not readable as JSON ({error}): extract it again from its archive.") from error
    if not isinstance(clips, dict):
        raise layout.error(f"{path} is not a table of clips")
    return clips


def _read_metadata(path: Path) -> dict[str, dict[str, Any]]:
    metadata = read_clips(path, LAYOUT)
    for name, entry in metadata.items():
        if (
            not isinstance(entry, dict)
            or entry.get("label") not in tuple(_LABELS)
            or entry.get("split") not in _SUBSETS
        ):
            raise LAYOUT.error(
                f"{path}: the entry of {name} needs the label FAKE or REAL, and train, validation, test or no split"
            )
    return metadata


def _real_clips(clips: Mapping[Path, Mapping[str, Any]], ids: Mapping[Path, str]) -> dict[str, str]:
    """Name without suffix → video id of each real clip, without names that occur in several parts."""
    paths = [path for path, entry in clips.items() if entry["label"] == "REAL"]
    occurrences = Counter(path.stem for path in paths)
    return {path.stem: ids[path] for path in paths if occurrences[path.stem] == 1}


def _source(path: Path, root: Path, video_id: str, entry: Mapping[str, Any], originals: Mapping[str, str]) -> Source:
    label = _LABELS[entry["label"]]
    original = entry.get("original")
    original = Path(original).stem if isinstance(original, str) and original else path.stem
    return Source(
        path=path,
        name=portable(path.relative_to(root)),
        video_id=video_id,
        label=label,
        method="real" if label == CLASS_NAMES[REAL] else "dfdc",
        identities=(original,),
        source_video=originals.get(original) if label == CLASS_NAMES[FAKE] else None,
        official_subset=entry.get("split"),
        media="video",
    )
