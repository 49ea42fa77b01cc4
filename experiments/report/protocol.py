"""Which runs can be compared: all runs in one table share one protocol."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from experiments.report.cells import EXCLUDED, Cell
from experiments.report.paper_tables import PaperTable

TITLES = {
    "data": "data fingerprint",
    "manifest": "prepared faces",
    "synthetic": "synthetic or real data",
    "size": "size of the models",
    "test faces": "test faces",
    "code": "code",
}
STAGE_OPTIMIZATION = ("optimizer", "schedule", "batch_size", "freeze", "gradient_clip")
"""Settings of a stage that can differ only in a table that varies the optimization."""


@dataclass(frozen=True)
class ProtocolCheck:
    """The cells of a table after `check_protocol`.

    Attributes:
        cells: all cells; those with another protocol have the status `EXCLUDED` and no predictions.
        excluded: one sentence per excluded cell.
        code_versions: of the complete cells; more than one only with `any_code`.
    """

    cells: list[Cell]
    excluded: list[str]
    code_versions: list[str]


def check_protocol(table: PaperTable, cells: Sequence[Cell], any_code: bool = False) -> ProtocolCheck:
    """Keep the cells with the most common protocol (the first one in case of a tie) and exclude the others.

    The protocol is everything that determines the results except the seed and the settings that the table or the row
    varies: data, split, optimization, model, test faces and code. Within a row, all seeds must also share the varied
    settings.

    Args:
        table: of the paper.
        cells: from `collect`.
        any_code: compare runs of different code; the report then says so.
    """
    protocols = {cell.name: _protocol(table, cell, any_code) for cell in cells if cell.complete}
    digests = {name: _digest(protocol) for name, protocol in protocols.items()}
    if not digests:
        return ProtocolCheck(list(cells), [], [])
    # A row with its own settings does not determine the common protocol.
    plain = [digests[cell.name] for cell in cells if cell.complete and not table.row(cell.experiment).varied]
    chosen = Counter(plain or digests.values()).most_common(1)[0][0]
    reference = protocols[next(name for name, digest in digests.items() if digest == chosen)]
    rows: dict[str, dict] = {}
    kept, excluded = [], []
    for cell in cells:
        if cell.complete:
            differing = _differences(reference, protocols[cell.name], table.row(cell.experiment).varied)
            if not differing:
                first = rows.setdefault(cell.experiment, _varied(table, cell))
                differing = _differences(first, _varied(table, cell))
            if differing:
                what = ", ".join(differing)
                excluded.append(f"{cell.name} is excluded: it differs from the other runs in {what}.")
                cell = replace(cell, status=f"{EXCLUDED}: different {what}", predictions=None)
        kept.append(cell)
    codes = sorted({each["code"] for cell in kept if cell.complete for each in cell.trained_by})
    return ProtocolCheck(kept, excluded, codes)


def describe(checked: ProtocolCheck) -> dict[str, object]:
    """Data, split, precision and code of the complete cells, which share one protocol; at least one is complete."""
    config = next(cell for cell in checked.cells if cell.complete).record["config"]
    data = config["data"]
    return {
        "data": data["name"],
        "fingerprint": data["fingerprint"],
        "synthetic": any(cell.synthetic for cell in checked.cells),
        "split": config["split"]["policy"],
        "precision": config["trainer"]["precision"],
        "code": ", ".join(checked.code_versions),
    }


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
    config = cell.record["config"]
    fixed = {key: value for key, value in _flat(config).items() if key != "seed" and not _is_varied(table, key)}
    fixed["data"] = fixed.pop("data.fingerprint", None)
    # Rows differ in their number of stages, so compare the distinct values of each setting.
    for key in ("carry", *(() if "optimization" in table.varied else STAGE_OPTIMIZATION)):
        values = {json.dumps(stage.get(key), sort_keys=True) for stage in config["curriculum"]["stages"]}
        fixed[f"curriculum.stages.{key}"] = sorted(values)
    faces = cell.predictions[["sample_id", "video_id", "label"]]
    about = {
        "manifest": cell.record["manifest_sha256"],
        "synthetic": cell.synthetic,
        "size": cell.size,
        "test faces": hashlib.sha256(pd.util.hash_pandas_object(faces, index=False).to_numpy().tobytes()).hexdigest(),
    }
    codes = sorted({each["code_sha256"] for each in cell.trained_by})
    return fixed | about | ({} if any_code else {"code": codes})


def _digest(protocol: dict) -> str:
    return hashlib.sha256(json.dumps(protocol, sort_keys=True, default=str).encode()).hexdigest()


def _differences(one: dict, other: dict, allowed: Sequence[str] = ()) -> list[str]:
    keys = sorted((one.keys() | other.keys()) - set(allowed))
    return [TITLES.get(key, key) for key in keys if one.get(key) != other.get(key)]
