"""What a run's records say about its detector: scores on test sets with intervals, and the split of its faces."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from deepfake_ms.data.dataset import LABELS
from deepfake_ms.errors import UserError
from deepfake_ms.evaluation.predictions import PREDICTIONS_NAME, SELECTED
from deepfake_ms.evaluation.scores import SCORES_NAME, VIDEOS_NAME
from deepfake_ms.scoring.intervals import bootstrap_intervals
from deepfake_ms.scoring.metrics import DECISION_METRICS, LEVELS, TITLES
from deepfake_ms.training.run_folder import AUDIT_NAME

OWN_TEST_SET = "test"


@dataclass(frozen=True)
class TestResult:
    """The scores of a detector on one test set.

    Attributes:
        scores: content of scores.json.
        intervals: per level, one row per metric with `mean`, `low` and `high`; decisions are taken at the thresholds of
            the run's validation set.
    """

    __test__ = False  # pytest must not collect it as a test class

    scores: Mapping[str, Any] = field(repr=False)
    intervals: Mapping[str, pd.DataFrame] = field(repr=False)

    @property
    def name(self) -> str:
        return self.scores["test_set"]


def read_results(run: Path, checkpoint_sha256: str) -> list[TestResult]:
    """The scores of the exported checkpoint on all test sets with labels, the run's own test set first.

    Args:
        run: folder of the run.
        checkpoint_sha256: of the checkpoint that is exported; scores of another one are left out, and so are
            `outdated_results`.

    Raises:
        UserError: the run's own test set was not scored with this checkpoint.
    """
    found = [
        _with_intervals(folder, scores)
        for folder, scores in _tables(run)
        if scores["checkpoint_sha256"] == checkpoint_sha256
        and "metrics" in scores
        and scores["test_set"] != "validation"
        and _is_current(folder)
    ]
    if not any(result.name == OWN_TEST_SET for result in found):
        raise UserError(f"{run} has no scores for its model card: run deepfake-ms evaluate run={run} first.")
    return sorted(found, key=lambda result: (result.name != OWN_TEST_SET, not result.scores["own"], result.name))


def outdated_results(run: Path) -> list[str]:
    """Folders of test sets that an earlier version scored, which kept no scores of single videos."""
    return [folder.parent.name for folder, scores in _tables(run) if "metrics" in scores and not _is_current(folder)]


def read_audit(run: Path) -> dict[str, Any]:
    """What the subsets of a run contain and share, see `deepfake_ms.data.audit.audit_split`; empty if not recorded."""
    path = run / AUDIT_NAME
    return json.loads(path.read_text()) if path.is_file() else {}


def _tables(run: Path) -> list[tuple[Path, dict[str, Any]]]:
    paths = sorted((run / "evaluation").glob(f"*/{SELECTED}/{SCORES_NAME}"))
    return [(path.parent, json.loads(path.read_text())) for path in paths]


def _is_current(folder: Path) -> bool:
    return (folder / VIDEOS_NAME).is_file()


def _with_intervals(folder: Path, scores: dict[str, Any]) -> TestResult:
    # Videos without a face are in videos.csv with the score that they count with, but not among the predictions.
    videos = pd.read_csv(folder / VIDEOS_NAME)
    videos = videos.assign(sample_id=videos["video_id"], label=videos["label"].map(LABELS))
    units = {"frame": pd.read_parquet(folder / PREDICTIONS_NAME), "video": videos}
    seed, intervals = scores["seed"], {}
    for level in LEVELS:
        threshold = scores["validation_thresholds"][level]
        metrics = [name for name in TITLES if threshold is not None or name not in DECISION_METRICS]
        chosen = {seed: 0.5 if threshold is None else threshold}
        intervals[level] = bootstrap_intervals({seed: units[level]}, "frame", metrics, chosen)
    return TestResult(scores, intervals)
