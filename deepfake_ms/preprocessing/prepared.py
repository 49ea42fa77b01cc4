"""Find prepared folders and read their descriptions."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepfake_ms.datasets import Corpus
from deepfake_ms.datasets.source import PREPARED_NAME
from deepfake_ms.errors import UserError
from deepfake_ms.manifest import MANIFEST_NAME
from deepfake_ms.preprocessing.settings import PreparationSettings

REPORT_NAME = "report.json"

_KNOWN_FILES = 20


def describe_request(data_name: str, options: Mapping[str, Any], settings: PreparationSettings) -> dict[str, Any]:
    """The part of a folder's description that must equal the request: data name, options and settings."""
    return {
        "data_name": data_name,
        "options": {name: value for name, value in options.items() if value is not None},
        "preparation": settings.as_dict(),
    }


def describe_corpus_files(corpus: Corpus) -> dict[str, Any]:
    """The part of a folder's description that identifies its corpus: its path and some of its files.

    Returns:
        ``root``, and ``files``: name -> size in bytes of about 20 files spread over the corpus.
    """
    base = _base(corpus.root)
    step = -(-len(corpus.sources) // _KNOWN_FILES)
    inside = [source for source in corpus.sources[::step] if base / source.name == source.path]
    files = {source.name: source.path.stat().st_size for source in inside if source.path.is_file()}
    if corpus.root.is_file():  # a table, which may name no file in its own folder
        files[corpus.root.name] = corpus.root.stat().st_size
    return {"root": str(Path(corpus.root).resolve()), "files": files}


def find_prepared(
    prepared_root: Path, data_name: str, root: Path | None, options: Mapping[str, Any], settings: PreparationSettings
) -> Path:
    """The complete prepared folder of a corpus, found without reading any video.

    A folder fits if it was prepared with the same data name, options and settings, and if the files recorded in it
    are in `root` with the same sizes. Neither the path of the corpus nor the folder's own name and place matter. If
    `root` is missing or empty, the faces may have been prepared elsewhere: then every folder of that name fits, unless
    the folders were prepared from corpora in different places. Of several that fit, because the corpus has changed in
    between, the one prepared last is returned, by the time that it records. A corpus that has changed since it was
    last prepared is not noticed.

    Args:
        prepared_root: the parent of all prepared folders.
        data_name: name of the data configuration.
        root: the corpus's top folder or table; None if unknown.
        options: options of its layout.
        settings: preparation settings.

    Raises:
        UserError: there is none, or several fit that come from different places.
    """
    request = describe_request(data_name, options, settings)
    described = {
        path.parent: description
        for path in sorted(Path(prepared_root).glob(f"*/{PREPARED_NAME}"))
        if (description := read_complete(path.parent)) is not None and request.items() <= description.items()
    }
    if root is not None and _has_content(root):
        fitting = {folder: each for folder, each in described.items() if _holds(root, each)}
        if described and not fitting:
            raise UserError(
                f"{root} does not contain the files from which the prepared faces of {data_name} in {prepared_root} "
                "were made: run `deepfake-ms prepare` for this corpus first, or choose faces with prepared=FOLDER."
            )
    else:
        fitting = described
        if len({each["root"] for each in fitting.values()}) > 1:
            raise UserError(
                f"{root or 'The corpus'} is missing, and {prepared_root} has prepared faces of {data_name} from "
                f"different places ({', '.join(folder.name for folder in fitting)}): choose one with prepared=FOLDER."
            )
    if not fitting:
        raise UserError(
            f"{prepared_root} has no prepared faces of {data_name}{f' ({root})' if root else ''} with these settings: "
            "run `deepfake-ms prepare` with the same data=... and preparation settings first."
        )
    return max(fitting, key=lambda folder: (fitting[folder]["prepared_at"], folder))


def _base(root: Path) -> Path:
    """The folder that the names of a corpus's files are relative to."""
    return root if root.is_dir() else root.absolute().parent


def _has_content(root: Path) -> bool:
    return root.is_file() or (root.is_dir() and any(root.iterdir()))


def _holds(root: Path, description: Mapping[str, Any]) -> bool:
    """Whether the corpus in `root` has the files recorded in a description."""
    if not description["files"]:
        return description["root"] == str(root.resolve())
    try:
        return all((_base(root) / name).stat().st_size == size for name, size in description["files"].items())
    except OSError:
        return False


def read_prepared(folder: Path) -> dict[str, Any]:
    """A folder's description: `data_name`, `fingerprint`, `preparation`, `synthetic`, `counts` and more.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = Path(folder) / PREPARED_NAME
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{folder} was not written by `deepfake-ms prepare`: {PREPARED_NAME} is missing.") from error
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}): delete {folder} and prepare again.") from error
    if not isinstance(description, dict):
        raise UserError(f"{path} does not describe a prepared folder: delete {folder} and prepare again.")
    return description


def read_complete(folder: Path) -> dict[str, Any] | None:
    """The folder's description if the folder is complete, otherwise None."""
    if not (folder / PREPARED_NAME).is_file() or not (folder / MANIFEST_NAME).is_file():
        return None
    try:
        description = read_prepared(folder)
    except UserError:
        return None
    return description if description.get("complete") is True else None


def read_report(folder: Path) -> dict[str, Any]:
    """The report that `deepfake_ms.preprocessing.report.build_report` made for a prepared folder."""
    return json.loads((folder / REPORT_NAME).read_text(encoding="utf-8"))
