"""What a run's records say about its detector: scores on test sets with intervals, and the split of its faces."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from deepfake_ms.data.audit import DISJOINT, notes
from deepfake_ms.data.dataset import LABELS
from deepfake_ms.data.splits import SUBSETS, UNUSED
from deepfake_ms.errors import UserError
from deepfake_ms.evaluation.predictions import PREDICTIONS_NAME, SELECTED
from deepfake_ms.evaluation.protocol_card import FIELDS
from deepfake_ms.evaluation.scores import SCORES_NAME, VIDEOS_NAME
from deepfake_ms.labels import CLASS_NAMES
from deepfake_ms.scoring.intervals import bootstrap_intervals
from deepfake_ms.scoring.metrics import DECISION_METRICS, LEVELS, TITLES
from deepfake_ms.training.run_folder import AUDIT_NAME

OWN_TEST_SET, VALIDATION = "test", "validation"
GROUP_METRICS = ("auroc", "low", "high", "fake_error", "real_error")
"""Of a group in scores.json."""


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
        UserError: the run's own test set was not scored with this checkpoint, or scores are damaged.
    """
    found = []
    for path in _tables(run):
        with _damage(path.parent, f"run deepfake-ms evaluate run={run} again for that test set, or delete this folder"):
            scores = json.loads(path.read_text())
            if scores["checkpoint_sha256"] != checkpoint_sha256 or scores["test_set"] == VALIDATION:
                continue
            if "metrics" in scores and _is_current(path.parent):
                _check_scores(scores)
                found.append(_with_intervals(path.parent, scores))
    if not any(result.name == OWN_TEST_SET for result in found):
        raise UserError(f"{run} has no scores for its model card: run deepfake-ms evaluate run={run} first.")
    return sorted(found, key=lambda result: (result.name != OWN_TEST_SET, not result.scores["own"], result.name))


def outdated_results(run: Path) -> list[str]:
    """Folders of test sets that an earlier version scored, which kept no scores of single videos."""
    return [path.parent.parent.name for path in _tables(run) if not _is_current(path.parent)]


def read_audit(run: Path) -> dict[str, Any]:
    """What the subsets of a run contain and share, see `deepfake_ms.data.audit.audit_split`; empty if not recorded.

    Raises:
        UserError: the file is damaged.
    """
    path = run / AUDIT_NAME
    if not path.is_file():
        return {}
    with _damage(path, "restore it from a copy, or delete it"):
        audit = json.loads(path.read_text())
        list(notes(audit))  # reads all of it but these
        for subset in (*SUBSETS, UNUSED):
            _check_kinds(audit["subsets"][subset], dict.fromkeys((*CLASS_NAMES, "videos", "identities"), int))
        for shared in audit["shared"].values():
            _check_kinds(shared, dict.fromkeys(DISJOINT, int))
    return audit


@contextmanager
def _damage(path: Path, remedy: str) -> Iterator[None]:
    """Turn what a damaged file causes while it is read into a `UserError`."""
    try:
        yield
    except KeyError as error:
        raise UserError(f"{path} lacks {error}: {remedy}.") from error
    except (ValueError, TypeError, AttributeError, IndexError, RecursionError, OSError, pa.ArrowException) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"{path} is damaged or incomplete ({reason}): {remedy}.") from error


def _check_scores(scores: Mapping[str, Any]) -> None:
    """Raise a KeyError, TypeError or ValueError unless the scores have what the model card shows."""
    _check_kinds(scores, {"test_set": str, "own": bool, "seed": int, "videos": int, "test_evaluations": int})
    _check_kinds(scores, dict.fromkeys(("test_data", "protocol_card", "frames", "validation_thresholds"), dict))
    _check_kinds(scores["test_data"], {"data_name": str, "synthetic": bool})
    _check_kinds(scores["protocol_card"], dict.fromkeys(FIELDS, str))
    _check_kinds(scores["frames"], dict.fromkeys(scores["frames"], int))
    _check_kinds(scores["validation_thresholds"], dict.fromkeys(LEVELS, (int, float, type(None))))
    if len({threshold is None for threshold in scores["validation_thresholds"].values()}) > 1:
        raise ValueError("only one level has a threshold")
    for line in scores.get("breakdown") or ():
        _check_kinds(line, {"by": str, "group": str, "fakes": (int, float)})
        _check_kinds(line, dict.fromkeys(GROUP_METRICS, (int, float, type(None))))
    if coverage := scores["coverage"]:
        _check_kinds(coverage, {"sentence": str})
    if audit := scores["audit"]:
        _check_kinds(audit, {"near_duplicates": int})


def _check_kinds(table: Mapping[str, Any], kinds: Mapping[str, type | tuple[type, ...]]) -> None:
    for name, kind in kinds.items():
        if not isinstance(table[name], kind):
            raise TypeError(f"{name} is of the wrong kind")


def _tables(run: Path) -> list[Path]:
    return sorted((run / "evaluation").glob(f"*/{SELECTED}/{SCORES_NAME}"))


def _is_current(folder: Path) -> bool:
    return (folder / VIDEOS_NAME).is_file()


def _with_intervals(folder: Path, scores: dict[str, Any]) -> TestResult:
    # Videos without a face are in videos.csv with the score that they count with, but not among the predictions.
    videos = pd.read_csv(folder / VIDEOS_NAME)
    videos = videos.assign(sample_id=videos["video_id"], label=videos["label"].map(LABELS))
    units = {"frame": pd.read_parquet(folder / PREDICTIONS_NAME), "video": videos}
    if not units["frame"]["video_id"].isin(videos["video_id"]).all():
        raise ValueError(f"{VIDEOS_NAME} lacks videos of {PREDICTIONS_NAME}")
    seed, intervals = scores["seed"], {}
    for level in LEVELS:
        threshold = scores["validation_thresholds"][level]
        metrics = [name for name in TITLES if threshold is not None or name not in DECISION_METRICS]
        chosen = {seed: 0.5 if threshold is None else threshold}
        intervals[level] = bootstrap_intervals({seed: units[level]}, "frame", metrics, chosen)
        found, recorded = float(intervals[level].loc["auroc", "mean"]), scores["metrics"][level]["auroc"]
        if not (math.isnan(found) if recorded is None else math.isclose(found, recorded, abs_tol=1e-6)):
            raise ValueError(f"the AUROC per {level} in {SCORES_NAME} is not that of the files beside it")
    return TestResult(scores, intervals)
