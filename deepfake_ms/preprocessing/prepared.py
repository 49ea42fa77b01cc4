"""A prepared folder, and what it says of itself."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepfake_ms.datasets import Corpus
from deepfake_ms.errors import UserError
from deepfake_ms.manifest import MANIFEST_NAME
from deepfake_ms.preprocessing.settings import PreparationSettings

PREPARED_NAME = "prepared.json"
REPORT_NAME = "report.json"


def describe_wanted(
    data_name: str, root: Path, options: Mapping[str, Any], settings: PreparationSettings
) -> dict[str, Any]:
    """By what a prepared folder is found: corpus, selection and settings."""
    return {
        "data_name": data_name,
        "root": str(Path(root).resolve()),
        "options": dict(options),
        "preparation": settings.as_dict(),
    }


def find_prepared(
    prepared_root: Path, data_name: str, root: Path, options: Mapping[str, Any], settings: PreparationSettings
) -> Path:
    """The complete prepared folder of a corpus, found without reading a video.

    If the corpus changed and was prepared more than once with this settings, the last prepare counts.

    Args:
        prepared_root: the folder that holds all prepared folders.
        data_name: name of the data configuration.
        root: the corpus's top folder.
        options: of its layout.
        settings: how videos became faces.

    Raises:
        UserError: there is none; the message names the command that makes it.
    """
    wanted = describe_wanted(data_name, root, options, settings)
    candidates = [
        path
        for path in Path(prepared_root).glob(f"*/{PREPARED_NAME}")
        if (description := read_complete(path.parent)) is not None and wanted.items() <= description.items()
    ]
    if not candidates:
        raise UserError(
            f"No complete prepared faces of {data_name} ({root}) with this settings in {prepared_root}: "
            "run `python -m deepfake_ms.prepare` with the same data=... and preparation settings first."
        )
    return max(candidates, key=lambda path: (path.stat().st_mtime_ns, path)).parent


def describe_listing(corpus: Corpus) -> str:
    """A digest of the names and sizes of the corpus's files, which is had without reading them."""
    listing = [(source.name, source.path.stat().st_size) for source in corpus.sources]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def read_prepared(folder: Path) -> dict[str, Any]:
    """What a prepared folder says of itself: `data_name`, `fingerprint`, `settings`, `synthetic`, `counts` and more."""
    return json.loads((folder / PREPARED_NAME).read_text(encoding="utf-8"))


def read_complete(folder: Path) -> dict[str, Any] | None:
    """The same, or None unless the folder is complete."""
    if not (folder / PREPARED_NAME).is_file() or not (folder / MANIFEST_NAME).is_file():
        return None
    description = read_prepared(folder)
    return description if description["complete"] else None


def read_report(folder: Path) -> dict[str, Any]:
    """The counts of a prepared folder, as `deepfake_ms.preprocessing.report.build_report` made them."""
    return json.loads((folder / REPORT_NAME).read_text(encoding="utf-8"))
