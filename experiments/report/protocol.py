"""One table, one protocol: which complete cells may stand beside each other."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from experiments.report.cells import APART, Cell
from experiments.report.paper_tables import PaperTable

TITLES = {
    "data": "data fingerprint",
    "manifest": "prepared faces",
    "synthetic": "synthetic or real data",
    "small": "small or full size",
    "test faces": "test faces",
    "code": "code",
}
CODE = "code"


@dataclass(frozen=True)
class OneProtocol:
    """Cells that are fit for one table.

    Attributes:
        cells: all; those of another protocol have it as their status and are not complete.
        apart: one sentence per cell that was put apart.
        code_versions: of the complete cells; more than one only if that was asked for.
    """

    cells: list[Cell]
    apart: list[str]
    code_versions: list[str]


def settle_protocol(table: PaperTable, cells: Sequence[Cell], any_code: bool = False) -> OneProtocol:
    """Keep the protocol that most complete cells share (the earliest such, on a tie); put the others apart.

    A protocol is everything that decides about the numbers except the seed and what the table varies: data, split,
    optimization, model, test faces and code. Within a row, what the table varies must be the same for all seeds, too.

    Args:
        any_code: let cells that different code trained stand beside each other; the report then says so.
    """
    protocols = {cell.name: _protocol(table, cell, any_code) for cell in cells if cell.complete}
    digests = {name: _digest(protocol) for name, protocol in protocols.items()}
    if not digests:
        return OneProtocol(list(cells), [], [])
    chosen = Counter(digests.values()).most_common(1)[0][0]
    reference = protocols[next(name for name, digest in digests.items() if digest == chosen)]
    rows: dict[str, dict] = {}
    kept, apart = [], []
    for cell in cells:
        if cell.complete:
            differing = _differences(reference, protocols[cell.name])
            if not differing:
                first = rows.setdefault(cell.experiment, _varied(table, cell))
                differing = _differences(first, _varied(table, cell))
            if differing:
                what = ", ".join(differing)
                apart.append(f"{cell.name} is not in the table: it differs from the other cells in {what}.")
                cell = replace(cell, status=f"{APART}: other {what}", predictions=None)
        kept.append(cell)
    codes = sorted({cell.record["code"] for cell in kept if cell.complete})
    return OneProtocol(kept, apart, codes)


def _flat(config: dict, prefix: str = "") -> dict[str, object]:
    flat = {}
    for key, value in config.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat


def _is_varied(table: PaperTable, key: str) -> bool:
    return any(key == each or key.startswith(f"{each}.") for each in table.varied)


def _varied(table: PaperTable, cell: Cell) -> dict[str, object]:
    return {key: value for key, value in _flat(cell.record["config"]).items() if _is_varied(table, key)}


def _protocol(table: PaperTable, cell: Cell, any_code: bool) -> dict[str, object]:
    config = _flat(cell.record["config"])
    fixed = {key: value for key, value in config.items() if key != "seed" and not _is_varied(table, key)}
    fixed["data"] = fixed.pop("data.fingerprint", None)
    faces = cell.predictions[["sample_id", "video_id", "label"]]
    about = {
        "manifest": cell.record["manifest_sha256"],
        "synthetic": cell.synthetic,
        "small": cell.small,
        "test faces": hashlib.sha256(pd.util.hash_pandas_object(faces, index=False).to_numpy().tobytes()).hexdigest(),
    }
    return fixed | about | ({} if any_code else {CODE: cell.record["code_sha256"]})


def _digest(protocol: dict) -> str:
    return hashlib.sha256(json.dumps(protocol, sort_keys=True, default=str).encode()).hexdigest()


def _differences(one: dict, other: dict) -> list[str]:
    return [TITLES.get(key, key) for key in sorted(one.keys() | other.keys()) if one.get(key) != other.get(key)]
