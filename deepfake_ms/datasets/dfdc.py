"""The DeepFake Detection Challenge's training set (Dolhansky et al., 2020): about 119,000 clips in 50 parts.

Each part has a ``metadata.json`` that names its clips, their labels and, for a fake, the real clip it was made from.
Who is in a clip is not told. The real clip's name stands in as the identity, so that a fake always stands on the same
subset as its original; two clips of one person can still stand on different subsets.
"""

import json
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
with any number of parts; one part alone may also be the root""",
)

_LABELS = {"REAL": CLASS_NAMES[REAL], "FAKE": CLASS_NAMES[FAKE]}
_SUBSETS = {None, "train", "validation", "test"}


def find_corpus(root: Path) -> Corpus:
    """The clips of all parts in `root`.

    The metadata's ``split`` becomes the official subset only if the parts name more than one: Kaggle's 50 all say
    ``train``, which divides nothing.

    Raises:
        UserError: the tree is another one, a part has no or unreadable metadata, an entry has an unknown label or
            split, or a part holds clips that its metadata does not name.
    """
    LAYOUT.require_folder(root)
    sources: list[Source] = []
    missing: list[str] = []
    for part in _parts(root):
        metadata = _read_metadata(part / METADATA)
        clips = {path.name: path for path in list_videos(part)}
        if unnamed := sorted(clips.keys() - metadata.keys()):
            raise UserError(
                f"{part / METADATA} does not name {len(unnamed)} of the clips beside it, e.g. {unnamed[0]}: put each "
                "part into a folder of its own, with its own metadata."
            )
        for name, entry in metadata.items():
            if name in clips:
                sources.append(_source(clips[name], root, entry))
            else:
                missing.append((part / name).relative_to(root).as_posix())
    if not sources:
        raise LAYOUT.error(f"{root} has none of the {len(missing)} clips that its metadata names")
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


def _source(path: Path, root: Path, entry: dict[str, Any]) -> Source:
    label = _LABELS[entry["label"]]
    original = entry.get("original")
    name = path.relative_to(root)
    return Source(
        path=path,
        name=name.as_posix(),
        video_id=name.with_suffix("").as_posix(),
        label=label,
        method="real" if label == CLASS_NAMES[REAL] else "dfdc",
        identities=(Path(original if isinstance(original, str) and original else path.name).stem,),
        official_subset=entry.get("split"),
        media="video",
    )
