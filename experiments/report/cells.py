"""What is on disk: every cell of a table, one row trained with one seed, finished or not."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from deepfake_ms.errors import UserError
from deepfake_ms.evaluation.scores import PREDICTIONS_NAME, SCORES_NAME
from deepfake_ms.launcher.jobs import RECORD_NAME as JOB_NAME
from deepfake_ms.launcher.jobs import Status
from deepfake_ms.training.metrics_table import METRICS_NAME
from deepfake_ms.training.run_folder import AUDIT_NAME, RECORD_NAME
from deepfake_ms.training.stage_chain import CHAIN_NAME
from experiments.report.paper_tables import PaperTable

COMPLETE = "complete"
SMALL = "_small"
"""How the name of a model ends that is the small variant of another."""
APART = "apart"
"""How the status of a finished cell begins that may not stand beside the others."""
SCORED = Path("evaluation") / "test_handoff"
RECORD_KEYS = ("config", "config_sha256", "code", "code_sha256", "libraries", "manifest_sha256")
PREDICTION_COLUMNS = ["sample_id", "video_id", "label", "fake_probability"]


@dataclass(frozen=True)
class Cell:
    """One run of the table, or its place.

    Attributes:
        experiment: its row.
        seed: of the training.
        status: `COMPLETE`, or what is wrong with it, for the reader.
        synthetic: whether its run says that its faces are drawn, damaged or not.
        record: of run.json; empty if there is none or it is damaged.
        scores: of scores.json.
        audit: of split_audit.json.
        curves: metrics.csv; empty if there is none.
        predictions: one row per test face, sorted by sample id; None unless complete.
    """

    experiment: str
    seed: int
    status: str
    synthetic: bool = False
    record: dict = field(default_factory=dict, repr=False)
    scores: dict = field(default_factory=dict, repr=False)
    audit: dict = field(default_factory=dict, repr=False)
    curves: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)
    predictions: pd.DataFrame | None = field(default=None, repr=False)

    @property
    def complete(self) -> bool:
        return self.status == COMPLETE

    @property
    def small(self) -> bool:
        """Whether its model is a small variant."""
        return self.record.get("config", {}).get("model", {}).get("name", "").endswith(SMALL)

    @property
    def name(self) -> str:
        return f"{self.experiment}/seed_{self.seed}"

    @property
    def thresholds(self) -> dict[str, float | None]:
        """Per level the one that validation chose; empty for runs that were scored before it was recorded."""
        return self.scores.get("validation_thresholds") or {}


def collect(
    table: PaperTable, runs: Path, sweep: Path, seeds: Sequence[int] | None = None, size: str | None = None
) -> list[Cell]:
    """Every row with every seed, in the table's order. Nothing in a run's folder makes it fail.

    Args:
        runs: a model's folder (``<runs_root>/<data>/<model>``), or a corpus's (``<runs_root>/<data>``) for a table
            whose rows are different models.
        sweep: where ``hydra/launcher=isolated`` keeps a record of each job; need not exist.
        seeds: those that the table should have; by default those that any of its rows has.
        size: only models of this size, ``small`` or ``full``; by default any. Rows without small variant have no
            cells if it is ``small``.

    Raises:
        UserError: there is not one run of the table under `runs`, or a row is under several models.
    """
    rows = [row for row in table.rows if not (row.full_size_only and size == "small")]
    folders = {row.experiment: _row_folder(runs, row.experiment, size) for row in rows}
    found = {int(path.name[5:]) for folder in folders.values() if folder for path in folder.glob("seed_*[0-9]")}
    if not found:
        folder = "runs/<data>" if table.has_several_models else "runs/<data>/<model>"
        raise UserError(
            f"{runs} holds no run of Table {table.number}: give the folder that `python -m deepfake_ms.train "
            f"experiment={table.rows[0].experiment}` writes to, {folder}."
        )
    jobs = _jobs(sweep, runs, size)
    return [
        _read_cell(experiment, seed, folder and folder / f"seed_{seed}", jobs.get((experiment, seed)))
        for experiment, folder in folders.items()
        for seed in sorted(found if seeds is None else set(seeds))
    ]


def _row_folder(runs: Path, experiment: str, size: str | None) -> Path | None:
    found = sorted(
        path
        for pattern in ("", "*/")
        for path in runs.glob(pattern + experiment)
        if path.is_dir() and (size is None or path.parent.name.endswith(SMALL) == (size == "small"))
    )
    if len(found) > 1:
        raise UserError(
            f"{runs} holds {experiment} under several models: give --size, or --runs with the folder of one of them."
        )
    return found[0] if found else None


def _read_cell(experiment: str, seed: int, folder: Path | None, job: str | None) -> Cell:
    if folder is None or not (folder / RECORD_NAME).is_file():
        return Cell(experiment, seed, job or "missing")
    reading = RECORD_NAME
    known: dict = {}
    try:
        record = json.loads((folder / RECORD_NAME).read_text())
        known["synthetic"] = bool(record["synthetic"])
        stages = len(record["config"]["curriculum"]["stages"])
        if without := [key for key in RECORD_KEYS if key not in record]:
            return Cell(experiment, seed, f"damaged: {RECORD_NAME} has no {without[0]}", **known)
        known["record"] = record
        for key, name, read in (
            ("audit", AUDIT_NAME, lambda path: json.loads(path.read_text())),
            ("curves", METRICS_NAME, pd.read_csv),
        ):
            reading = name
            if (folder / name).is_file():
                known[key] = read(folder / name)
        reading = CHAIN_NAME
        chain = folder / CHAIN_NAME
        done = len(json.loads(chain.read_text())["stages"]) if chain.is_file() else 0
        if done < stages:
            return Cell(experiment, seed, _joined(f"unfinished: stage {done + 1} of {stages}", job), **known)
        reading = SCORES_NAME
        if not ((folder / SCORED / SCORES_NAME).is_file() and (folder / SCORED / PREDICTIONS_NAME).is_file()):
            return Cell(experiment, seed, _joined("trained, not scored", job), **known)
        known["scores"] = json.loads((folder / SCORED / SCORES_NAME).read_text())
        reading = PREDICTIONS_NAME
        predictions = pd.read_parquet(folder / SCORED / PREDICTIONS_NAME)[PREDICTION_COLUMNS]
        if predictions.empty or predictions.isna().any(axis=None):
            return Cell(experiment, seed, f"damaged: {PREDICTIONS_NAME} has missing values", **known)
        known["predictions"] = predictions.sort_values("sample_id", ignore_index=True)
    except (ValueError, KeyError, TypeError, OSError) as error:
        return Cell(experiment, seed, f"damaged: {reading} ({type(error).__name__})", **known)
    return Cell(experiment, seed, COMPLETE, **known)


def _joined(status: str, job: str | None) -> str:
    return f"{status}; {job}" if job else status


def _jobs(sweep: Path, runs: Path, size: str | None) -> dict[tuple[str, int], str]:
    """(experiment, seed) → what the launcher says of a job of these runs that did not finish."""
    found = {}
    for path in sorted(sweep.glob(f"*/{JOB_NAME}")):
        try:
            record = json.loads(path.read_text())
            given = dict(re.fullmatch(r"\+*([^=]+)=(.*)", text).groups() for text in record["overrides"])
            cell = given["experiment"], int(given.get("seed", 0))
            status = Status(record["status"])
        except (ValueError, KeyError, TypeError, AttributeError, OSError):
            continue  # a job of another program, or a damaged record: it says nothing about a cell
        places = {given[key] for key in ("data.name", "data", "model") if key in given}
        if "data.name" in given:
            places.discard(given.get("data"))
        if size and given.get("size", size) != size:
            continue
        if status is not Status.FINISHED and places <= set(runs.resolve().parts):
            found[cell] = _told(status, record)
    return found


def _told(status: Status, record: dict) -> str:
    if status is Status.RUNNING:
        return "running when last recorded"
    reason = record.get("signal") or (
        f"exit status {record['exit_code']}" if record.get("exit_code") is not None else None
    )
    return f"{status.value}: {reason}, attempt {record.get('attempt', 1)}" if reason else status.value
