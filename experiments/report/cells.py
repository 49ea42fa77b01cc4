"""The runs on disk: every cell of a table is one row trained with one seed, finished or not."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from hydra.errors import HydraException

from deepfake_ms.composition import compose
from deepfake_ms.errors import UserError
from deepfake_ms.evaluation.predictions import PREDICTIONS_NAME, SELECTED
from deepfake_ms.evaluation.scores import SCORES_NAME
from deepfake_ms.launcher.jobs import RECORD_NAME as JOB_NAME
from deepfake_ms.launcher.jobs import Status
from deepfake_ms.training.metrics_table import METRICS_NAME
from deepfake_ms.training.run_folder import AUDIT_NAME, FORMAT, RECORD_NAME
from deepfake_ms.training.stage_chain import CHAIN_NAME
from experiments.report.paper_tables import SIZES, PaperTable

COMPLETE = "complete"
EXCLUDED = "excluded"
"""First word of the status of a finished cell that cannot be compared with the others."""
EARLIER_VERSION = "made by an earlier version"
SCORED = Path("evaluation") / "test" / SELECTED
RECORD_KEYS = ("config", "config_sha256", "code", "code_sha256", "libraries", "manifest_sha256")
PREDICTION_COLUMNS = ["sample_id", "video_id", "label", "fake_probability"]


@dataclass(frozen=True)
class Cell:
    """One run of the table, which may be missing.

    Attributes:
        experiment: its row.
        seed: of the training.
        status: `COMPLETE`, or why it has no numbers, as shown in the report.
        synthetic: whether run.json says that the faces are drawn, even if the run is damaged.
        record: content of run.json; empty if it is missing, damaged or by an earlier version.
        trained_by: code, libraries and hardware that trained its finished stages (`Handoff.trained_by`), without
            repetitions; those of run.json before any stage is finished.
        scores: content of scores.json.
        audit: content of split_audit.json.
        curves: metrics.csv; empty if it is missing.
        predictions: one row per test face, sorted by sample id; None unless complete.
    """

    experiment: str
    seed: int
    status: str
    synthetic: bool = False
    record: dict = field(default_factory=dict, repr=False)
    trained_by: list[dict] = field(default_factory=list, repr=False)
    scores: dict = field(default_factory=dict, repr=False)
    audit: dict = field(default_factory=dict, repr=False)
    curves: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)
    predictions: pd.DataFrame | None = field(default=None, repr=False)

    @property
    def complete(self) -> bool:
        return self.status == COMPLETE

    @property
    def size(self) -> str:
        """The variant of its model, one of `SIZES`; full if unknown."""
        return size_of(self.record.get("config", {}).get("model", {}).get("name", ""))

    @property
    def name(self) -> str:
        return f"{self.experiment}/seed_{self.seed}"

    @property
    def code(self) -> str:
        """The versions of the code that trained it; empty if unknown."""
        return "; ".join(dict.fromkeys(each["code"] for each in self.trained_by))

    @property
    def auroc_after_stages(self) -> dict[str, float]:
        """Validation AUROC after the last epoch of each stage, by the stage's name, also of unfinished stages."""
        if not {"stage", "validation/auroc"} <= set(self.curves):
            return {}
        return self.curves.groupby("stage", sort=False)["validation/auroc"].last().to_dict()

    @property
    def thresholds(self) -> dict[str, float | None]:
        """The threshold chosen on the validation set, per level; None where validation lacks a class."""
        return self.scores.get("validation_thresholds", {})


def collect(
    table: PaperTable, runs: Path, sweep: Path, seeds: Sequence[int] | None = None, size: str | None = None
) -> list[Cell]:
    """Every row with every seed, in the order of the table. Damaged run folders become cells that say so.

    Args:
        table: of the paper.
        runs: folder of a model (``<runs_root>/<data>/<model>``), or of a corpus (``<runs_root>/<data>``) for a table
            whose rows are different models.
        sweep: folder of the job records of ``hydra/launcher=isolated``; may be missing.
        seeds: the seeds that every row should have; default: all seeds that any row has, or that a job was to train.
        size: only models of this size, of `SIZES`; default: any. Rows whose model does not have it have no cells.

    Raises:
        UserError: `runs` contains no run of the table, or one row with several models.
    """
    rows = [row for row in table.rows if size is None or size in row.sizes]
    folders = {row.experiment: _row_folder(runs, row.experiment, size) for row in rows}
    found = {int(path.name[5:]) for folder in folders.values() if folder for path in folder.glob("seed_*[0-9]")}
    if not found:
        folder = "runs/<data>" if table.has_several_models else "runs/<data>/<model>"
        raise UserError(
            f"{runs} contains no run of Table {table.number}: give the folder that `deepfake-ms train "
            f"experiment={table.rows[0].experiment}` writes to, {folder}."
        )
    jobs = _unfinished_jobs(sweep, runs, size)
    # All jobs of a seed may have ended before they wrote anything.
    found |= {int(name[5:]) for experiment, name in jobs if experiment in folders and name[5:].isdecimal()}
    return [
        _read_cell(experiment, seed, folder and folder / f"seed_{seed}", jobs.get((experiment, f"seed_{seed}")))
        for experiment, folder in folders.items()
        for seed in sorted(found if seeds is None else set(seeds))
    ]


def _row_folder(runs: Path, experiment: str, size: str | None) -> Path | None:
    found = sorted(
        path
        for pattern in ("", "*/")
        for path in runs.glob(pattern + experiment)
        if path.is_dir() and size in (None, size_of(path.parent.name))
    )
    if len(found) > 1:
        raise UserError(
            f"{runs} contains {experiment} with several models: give --size, or the folder of one model with --runs."
        )
    return found[0] if found else None


def size_of(model: str) -> str:
    """The size in the name of a model: ``lite`` for ``genconvit_ed_lite``."""
    suffix = model.rpartition("_")[2]
    return suffix if suffix in SIZES else "full"


def _read_cell(experiment: str, seed: int, folder: Path | None, job: str | None) -> Cell:
    if folder is None or not (folder / RECORD_NAME).is_file():
        return Cell(experiment, seed, job or "missing")
    reading = RECORD_NAME
    known: dict = {}
    try:
        record = json.loads((folder / RECORD_NAME).read_text())
        if record.get("format") != FORMAT:
            return Cell(experiment, seed, EARLIER_VERSION, bool(record.get("synthetic")))
        known["synthetic"] = bool(record["synthetic"])
        stages = len(record["config"]["curriculum"]["stages"])
        if lacking := [key for key in RECORD_KEYS if key not in record]:
            return Cell(experiment, seed, f"damaged: {RECORD_NAME} has no {lacking[0]}", **known)
        known |= {"record": record, "trained_by": [record]}
        for key, name, read in (
            ("audit", AUDIT_NAME, lambda path: json.loads(path.read_text())),
            ("curves", METRICS_NAME, pd.read_csv),
        ):
            reading = name
            if (folder / name).is_file():
                known[key] = read(folder / name)
        reading = CHAIN_NAME
        chain = folder / CHAIN_NAME
        finished = json.loads(chain.read_text())["stages"] if chain.is_file() else []
        if origins := [each for stage in finished for each in stage["trained_by"]]:
            known["trained_by"] = [each for place, each in enumerate(origins) if each not in origins[:place]]
        if len(finished) < stages:
            return Cell(experiment, seed, _with_job(f"unfinished: stage {len(finished) + 1} of {stages}", job), **known)
        reading = SCORES_NAME
        if not ((folder / SCORED / SCORES_NAME).is_file() and (folder / SCORED / PREDICTIONS_NAME).is_file()):
            return Cell(experiment, seed, _with_job("trained, not scored", job), **known)
        known["scores"] = json.loads((folder / SCORED / SCORES_NAME).read_text())
        reading = PREDICTIONS_NAME
        predictions = pd.read_parquet(folder / SCORED / PREDICTIONS_NAME)[PREDICTION_COLUMNS]
        if predictions.empty or predictions.isna().any(axis=None):
            return Cell(experiment, seed, f"damaged: {PREDICTIONS_NAME} has missing values", **known)
        known["predictions"] = predictions.sort_values("sample_id", ignore_index=True)
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        return Cell(experiment, seed, f"damaged: {reading} ({type(error).__name__})", **known)
    return Cell(experiment, seed, COMPLETE, **known)


def _with_job(status: str, job: str | None) -> str:
    return f"{status}; {job}" if job else status


def _unfinished_jobs(sweep: Path, runs: Path, size: str | None) -> dict[tuple[str, str], str]:
    """(experiment, ``seed_<n>``) → the recorded status of unfinished jobs whose runs are below `runs`."""
    found = {}
    for path in sorted(sweep.glob(f"*/{JOB_NAME}")):
        try:
            record = json.loads(path.read_text())
            if (status := Status(record["status"])) is Status.FINISHED:
                continue
            data, model, experiment, seed = Path(compose(*record["overrides"]).run_folder).parts[-4:]
        except (ValueError, KeyError, TypeError, OSError, HydraException, UserError):
            continue  # a job of another program or version, or a damaged record
        is_below = runs.name == data or (runs.parent.name, runs.name) == (data, model)
        if is_below and size in (None, size_of(model)):
            found[experiment, seed] = _describe(status, record)
    return found


def _describe(status: Status, record: dict) -> str:
    if status is Status.RUNNING:
        return "running when last recorded"
    reason = record.get("signal") or (
        f"exit status {record['exit_code']}" if record.get("exit_code") is not None else None
    )
    return f"{status.value}: {reason}, attempt {record.get('attempt', 1)}" if reason else status.value
