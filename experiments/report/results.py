"""The numbers of a table in one tidy frame: per seed, per row and per pair of rows."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix

from deepfake_ms.labels import FAKE, REAL
from deepfake_ms.scoring.intervals import bootstrap_intervals, paired_difference
from deepfake_ms.scoring.metrics import DECISION_METRICS, LEVELS, TITLES, at_level, score_table
from experiments.report.cells import Cell
from experiments.report.paper_tables import PUBLISHED_ON, Comparison, PaperTable

HALF, CHOSEN = ".5", "validation"
"""Thresholds: .5, and the one chosen on each run's validation set."""
KINDS = ("published", "row", "difference", "seed", "seed_difference", "stage", "cell")
COLUMNS = [
    "table",
    "kind",
    "experiment",
    "row",
    "compared_with",
    "data",
    "synthetic",
    "level",
    "threshold",
    "metric",
    "mean",
    "sd",
    "low",
    "high",
    "p_value",
    "seeds_agreeing",
    "seeds",
    "status",
    "fingerprint",
    "code",
]


@dataclass(frozen=True)
class Results:
    """All numbers of a table and the runs that they come from.

    Attributes:
        table: of the paper.
        cells: all, after `check_protocol`.
        published: experiment → metric → value as printed.
        frame: one row per number, columns `COLUMNS`; `kind` is one of `KINDS`. For single seeds and published numbers,
            `mean` is the value itself. A row of kind ``stage`` is the validation AUROC of a run after the last epoch of
            a stage, whose name is the status.
    """

    table: PaperTable
    cells: list[Cell]
    published: dict[str, dict[str, str]]
    frame: pd.DataFrame

    @property
    def synthetic(self) -> bool:
        """Whether any run, compared or excluded, uses drawn faces."""
        return any(cell.synthetic for cell in self.cells)

    @property
    def sizes(self) -> list[str]:
        """The variants of the models of all runs, compared or excluded."""
        return sorted({cell.size for cell in self.cells if cell.record})

    @property
    def data(self) -> str:
        """Name of the data of the complete cells, or of any cell if none is complete."""
        known = sorted((cell for cell in self.cells if cell.record), key=lambda cell: not cell.complete)
        return known[0].record["config"]["data"]["name"] if known else "unknown data"

    @property
    def comparisons(self) -> list[Comparison]:
        """Those between rows that have cells; rows whose model lacks the size have none."""
        known = {cell.experiment for cell in self.cells}
        return [each for each in self.table.comparisons if {each.row, each.other} <= known]

    def complete(self, experiment: str) -> dict[int, Cell]:
        """Seed → complete cell of a row."""
        return {cell.seed: cell for cell in self.cells if cell.experiment == experiment and cell.complete}

    def lines(self, kind: str, level: str = "frame", threshold: str = HALF) -> pd.DataFrame:
        """The rows of `frame` of one kind, indexed by experiment, compared_with and metric."""
        frame = self.frame
        chosen = frame[(frame["kind"] == kind) & (frame["level"] == level) & (frame["threshold"] == threshold)]
        return chosen.set_index(["experiment", "compared_with", "metric"]).sort_index()


def compute(table: PaperTable, cells: Sequence[Cell], published: dict[str, dict[str, str]], resamples: int) -> Results:
    """All numbers of the table.

    Args:
        table: of the paper.
        cells: after `check_protocol`; only complete ones are scored.
        published: from `published_numbers`.
        resamples: bootstrap samples of the test videos per interval.
    """
    results = Results(table, list(cells), published, pd.DataFrame())
    lines: list[dict] = []
    for experiment, values in published.items():
        about = {"kind": "published", "experiment": experiment, "data": PUBLISHED_ON, "synthetic": False}
        about |= {"level": "frame", "threshold": HALF}
        lines += [{**about, "metric": metric, "mean": float(text)} for metric, text in values.items()]
    for row in table.rows:
        lines += _row_records(results.complete(row.experiment), row.experiment, resamples)
    for each in results.comparisons:
        lines += _pair_records(results, each.row, each.other, resamples)
    if table.control:
        lines += _control_records(results.complete(table.control), table.control, resamples)
    for cell in cells:
        lines.append({"kind": "cell", "experiment": cell.experiment, "seeds": str(cell.seed), "status": cell.status})
        lines[-1] |= _provenance([cell]) if cell.record else {}
        lines += _stage_records(cell)
    frame = pd.DataFrame(lines).reindex(columns=COLUMNS)
    frame["table"] = table.number
    frame["row"] = frame["experiment"].map(table.title_of)
    frame["compared_with"] = frame["compared_with"].astype(object).fillna("")
    frame["seeds_agreeing"] = frame["seeds_agreeing"].astype("Int64")
    return Results(table, list(cells), published, frame)


def _provenance(cells: Sequence[Cell]) -> dict:
    """The columns that identify data and code."""
    first = cells[0].record
    return {
        "data": first["config"]["data"]["name"],
        "synthetic": cells[0].synthetic,
        "fingerprint": first["config"]["data"]["fingerprint"],
        "code": "; ".join(sorted({cell.code for cell in cells})),
    }


def _thresholds(cells: dict[int, Cell], level: str) -> dict[int, float] | None:
    """The validation-chosen threshold per seed; None unless every seed has one."""
    found = {seed: cell.thresholds.get(level) for seed, cell in cells.items()}
    return None if any(value is None or math.isnan(value) for value in found.values()) else found


def _score_settings(cells: dict[int, Cell]) -> Iterator[tuple[str, str, dict[int, float] | None, tuple[str, ...]]]:
    """Level, name of the threshold, threshold per seed (None: .5), and the metrics to compute with it."""
    for level in LEVELS:
        yield level, HALF, None, tuple(TITLES)
        if chosen := _thresholds(cells, level):
            yield level, CHOSEN, chosen, DECISION_METRICS


def _per_seed(cells: dict[int, Cell], level: str, chosen: dict[int, float] | None) -> pd.DataFrame:
    """Metrics, a frame [metric, seed]."""
    return pd.DataFrame(
        {
            seed: score_table(cell.predictions, dict.fromkeys(LEVELS, chosen[seed]) if chosen else None)[level]
            for seed, cell in cells.items()
        }
    )


def _summary_records(about: dict, seeds: Sequence[int], summary: pd.DataFrame) -> list[dict]:
    named = {**about, "seeds": " ".join(map(str, seeds)), "status": f"{len(seeds)} seeds"}
    return [{**named, **line} for line in summary.reset_index(names="metric").to_dict("records")]


def _seed_records(about: dict, values: pd.DataFrame) -> list[dict]:
    return [
        {**about, "seeds": str(seed), "metric": metric, "mean": value}
        for seed, column in values.items()
        for metric, value in column.items()
    ]


def _row_records(cells: dict[int, Cell], experiment: str, resamples: int) -> Iterator[dict]:
    if not cells:
        return
    predictions = {seed: cell.predictions for seed, cell in cells.items()}
    for level, name, chosen, metrics in _score_settings(cells):
        about = {"experiment": experiment, "level": level, "threshold": name, **_provenance(list(cells.values()))}
        summary = bootstrap_intervals(predictions, level, metrics, chosen, resamples=resamples)
        yield from _summary_records({"kind": "row", **about}, list(cells), summary)
        yield from _seed_records({"kind": "seed", **about}, _per_seed(cells, level, chosen).loc[list(metrics)])


def _stage_records(cell: Cell) -> Iterator[dict]:
    about = {"kind": "stage", "experiment": cell.experiment, "seeds": str(cell.seed), "level": "frame"}
    for stage, auroc in cell.auroc_after_stages.items():
        yield {**about, **_provenance([cell]), "metric": "auroc", "mean": auroc, "status": stage}


def _pair_records(results: Results, row: str, other: str, resamples: int) -> Iterator[dict]:
    ours, theirs = results.complete(row), results.complete(other)
    seeds = [seed for seed in ours if seed in theirs]
    if not seeds:
        return
    ours, theirs = ({seed: cells[seed] for seed in seeds} for cells in (ours, theirs))
    predictions = [{seed: cell.predictions for seed, cell in cells.items()} for cells in (ours, theirs)]
    for level, name, chosen, metrics in _score_settings(ours):
        other_chosen = _thresholds(theirs, level) if chosen else None
        if chosen and other_chosen is None:
            continue
        about = {"experiment": row, "compared_with": other, "level": level, "threshold": name}
        about |= _provenance([*ours.values(), *theirs.values()])
        summary = paired_difference(*predictions, level, metrics, chosen, other_chosen, resamples=resamples)
        yield from _summary_records({"kind": "difference", **about}, seeds, summary)
        values = _per_seed(ours, level, chosen) - _per_seed(theirs, level, other_chosen)
        yield from _seed_records({"kind": "seed_difference", **about}, values.loc[list(metrics)])


def _control_records(cells: dict[int, Cell], experiment: str, resamples: int) -> Iterator[dict]:
    """The row at the validation-chosen threshold minus the same row at .5."""
    predictions = {seed: cell.predictions for seed, cell in cells.items()}
    for level in LEVELS:
        chosen = _thresholds(cells, level) if cells else None
        if not chosen:
            continue
        about = {"experiment": experiment, "compared_with": f"{experiment} at .5", "level": level}
        about |= {"threshold": CHOSEN, **_provenance(list(cells.values()))}
        summary = paired_difference(
            predictions, predictions, level, DECISION_METRICS, chosen, None, resamples=resamples
        )
        yield from _summary_records({"kind": "difference", **about}, list(cells), summary)
        values = _per_seed(cells, level, chosen) - _per_seed(cells, level, None)
        yield from _seed_records({"kind": "seed_difference", **about}, values.loc[list(DECISION_METRICS)])


def mean_confusion(cells: Sequence[Cell], level: str, chosen: bool) -> np.ndarray | None:
    """Confusion counts [true, predicted], real first, averaged over seeds; None if a run has no threshold.

    Args:
        cells: complete cells of one row.
        level: one of `LEVELS`.
        chosen: use the validation-chosen thresholds instead of .5.
    """
    found = []
    for cell in cells:
        threshold = cell.thresholds.get(level) if chosen else 0.5
        if threshold is None:
            return None
        units = at_level(cell.predictions, level)
        found.append(confusion_matrix(units["label"], units["fake_probability"] > threshold, labels=[REAL, FAKE]))
    return np.mean(found, axis=0)
