"""Find prepared folders and read their descriptions."""

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


def describe_request(
    data_name: str, root: Path, options: Mapping[str, Any], settings: PreparationSettings
) -> dict[str, Any]:
    """The part of a folder's description by which `find_prepared` finds it: corpus, options and settings."""
    return {
        "data_name": data_name,
        "root": str(Path(root).resolve()),
        "options": dict(options),
        "preparation": settings.as_dict(),
    }


def find_prepared(
    prepared_root: Path, data_name: str, root: Path, options: Mapping[str, Any], settings: PreparationSettings
) -> Path:
    """The complete prepared folder of a corpus, found without reading any video.

    If the corpus changed and was prepared more than once with these settings, the most recent folder is returned.

    Args:
        prepared_root: the parent of all prepared folders.
        data_name: name of the data configuration.
        root: the corpus's top folder.
        options: options of its layout.
        settings: preparation settings.

    Raises:
        UserError: there is none; the message names the command that creates it.
    """
    request = describe_request(data_name, root, options, settings)
    candidates = [
        path
        for path in Path(prepared_root).glob(f"*/{PREPARED_NAME}")
        if (description := read_complete(path.parent)) is not None and request.items() <= description.items()
    ]
    if not candidates:
        raise UserError(
            f"There are no complete prepared faces of {data_name} ({root}) with these settings in {prepared_root}: "
            "run `deepfake-ms prepare` with the same data=... and preparation settings first."
        )
    return max(candidates, key=lambda path: (path.stat().st_mtime_ns, path)).parent


def describe_listing(corpus: Corpus) -> str:
    """A hash of the names and sizes of the corpus's files; it needs no file to be read."""
    listing = [(source.name, source.path.stat().st_size) for source in corpus.sources]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def read_prepared(folder: Path) -> dict[str, Any]:
    """A folder's description: `data_name`, `fingerprint`, `preparation`, `synthetic`, `counts` and more."""
    return json.loads((folder / PREPARED_NAME).read_text(encoding="utf-8"))


def read_complete(folder: Path) -> dict[str, Any] | None:
    """The folder's description if the folder is complete, otherwise None."""
    if not (folder / PREPARED_NAME).is_file() or not (folder / MANIFEST_NAME).is_file():
        return None
    description = read_prepared(folder)
    return description if description["complete"] else None


def read_report(folder: Path) -> dict[str, Any]:
    """The report that `deepfake_ms.preprocessing.report.build_report` made for a prepared folder."""
    return json.loads((folder / REPORT_NAME).read_text(encoding="utf-8"))
