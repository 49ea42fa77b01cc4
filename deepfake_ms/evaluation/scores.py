"""Scores of a finished run on a test set, with their provenance."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from rich.console import Console

from deepfake_ms.data.audit import audit_foreign
from deepfake_ms.evaluation.breakdown import break_down, group_videos
from deepfake_ms.evaluation.coverage import EXCLUDED, Coverage, with_missing
from deepfake_ms.evaluation.predictions import (
    SELECTED,
    Checkpoint,
    count_evaluations,
    has_predictions,
    predict,
    read_predictions,
    result_folder,
)
from deepfake_ms.evaluation.protocol_card import protocol_card
from deepfake_ms.evaluation.test_set import TestSet
from deepfake_ms.files import write_atomically, write_json
from deepfake_ms.labels import CLASS_NAMES, UNLABELLED
from deepfake_ms.provenance import code_version, library_versions
from deepfake_ms.scoring.calibration import apply_temperature, fit_temperature
from deepfake_ms.scoring.metrics import (
    DECISION_METRICS,
    LEVELS,
    THRESHOLD_CRITERION,
    at_level,
    choose_thresholds,
    score_table,
    video_scores,
)
from deepfake_ms.training.run import Run
from deepfake_ms.training.trainer import TrainerSettings

SCORES_NAME, VIDEOS_NAME = "scores.json", "videos.csv"
CALIBRATION_METRICS = ("calibration_error", "brier")


def evaluate(
    run: Run,
    test_set: TestSet,
    settings: TrainerSettings,
    console: Console,
    checkpoint: str = SELECTED,
    missing: str = EXCLUDED,
) -> dict:
    """Score `run` on a test set, at threshold .5 and at the threshold chosen on its own validation set.

    Writes ``evaluation/<test set>/<checkpoint>/scores.json`` beside the predictions, and ``videos.csv`` with the score
    of every video; first those on the run's own validation set. A test set is predicted once per checkpoint; scores
    are computed from the predictions on disk. Faces without labels are scored, but not measured.

    Args:
        run: with all stages finished.
        test_set: to score.
        settings: hardware.
        console: prints a note if the predictions on disk are up to date.
        checkpoint: ``selected`` or ``last``, see `Checkpoint`.
        missing: what the videos of another corpus without a face count as, a key of
            `deepfake_ms.evaluation.coverage.MISSING`. The run's own test set leaves them out.

    Returns:
        The content of scores.json; empty on ranks other than 0.

    Raises:
        UserError: the run is not finished, its faces or checkpoint are missing or have changed, a prediction is not
            finite, or an argument is unknown.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()  # rank 0 completes chain.json after the other ranks have left training
    chosen = Checkpoint.of(run, checkpoint)
    coverage = Coverage.of(test_set, missing)
    validation_set = TestSet.of_run(run, "validation")
    wanted = {each.name: each for each in (validation_set, test_set)}
    # All ranks decide this before any of them writes; otherwise they would run different passes.
    lacking = [each for each in wanted.values() if not has_predictions(run, each, chosen)]
    for each in lacking:
        predict(run, each, chosen, settings)
    if rank_zero_only.rank != 0:
        return {}
    folder = result_folder(run, test_set, checkpoint)
    if test_set.name not in {each.name for each in lacking}:
        console.print(f"{folder}: predictions of this checkpoint are up to date.", highlight=False, markup=False)

    _note_replaced(folder / SCORES_NAME, test_set, console)
    predictions, validation = (read_predictions(run, each, checkpoint) for each in (test_set, validation_set))
    thresholds = choose_thresholds(validation)
    temperatures = {level: fit_temperature(at_level(validation, level)) for level in LEVELS}
    counted = with_missing(predictions, coverage)
    card = protocol_card(run, test_set, checkpoint, coverage)
    scores = {
        "protocol": "; ".join(f"{name}: {value}" for name, value in card.items()),
        "protocol_card": card,
        "data": {**run.config["data"], "synthetic": run.record["synthetic"]},
        "test_data": {key: test_set.faces.about.get(key) for key in ("data_name", "fingerprint", "synthetic")},
        "test_set": test_set.name,
        "own": test_set.own,
        "perturbation": _describe_perturbation(test_set, predictions),
        "seed": run.seed,
        "trained_by": run.record["code"],
        "predicted_by": {key: predictions.attrs[key] for key in ("code", "device", "precision")},
        "scored_by": code_version(),
        "libraries": library_versions(),
        "checkpoint_sha256": chosen.sha256,
        "frames": _count_classes(predictions["label"]),
        "videos": int(predictions["video_id"].nunique()),
        "coverage": coverage.as_record() if coverage else None,
        "seen_videos_left_out": len(test_set.seen),
        "audit": None if test_set.own else _audit(run, test_set),
        "test_evaluations": count_evaluations(run),
        "threshold_criterion": f"{THRESHOLD_CRITERION} on validation",
        "validation_thresholds": thresholds,
        "temperatures": temperatures,
        **(_measure(counted, thresholds, temperatures) if UNLABELLED not in test_set.labels else {}),
    }
    if "metrics" in scores and not test_set.is_validation:
        groups = break_down({run.seed: counted}, group_videos(test_set), {run.seed: thresholds["video"]})
        scores["breakdown"] = groups.drop(columns="sd").to_dict("records")
    scores = _null_for_nan(scores)
    write_json(folder / SCORES_NAME, scores)
    write_atomically(folder / VIDEOS_NAME, _videos(counted, thresholds, temperatures).to_csv(index=False))
    return scores


def headline(found: Mapping[str, dict]) -> Iterator[tuple[str, float]]:
    """The metrics of several test sets under flat names, such as ``dfd/video/at_validation_threshold/accuracy``.

    Args:
        found: name of the test set → its scores, from `evaluate`; those without labels have no metrics.
    """
    for name, scores in found.items():
        for part, table in (("", "metrics"), ("at_validation_threshold/", "metrics_at_validation_thresholds")):
            for level, values in scores.get(table, {}).items():
                yield from ((f"{name}/{level}/{part}{key}", each) for key, each in values.items() if each is not None)


def _measure(counted: pd.DataFrame, thresholds: dict[str, float], temperatures: dict[str, float]) -> dict:
    """Everything that needs labels.

    Args:
        counted: predictions, with a row per video without a face if the policy demands it.
        thresholds, temperatures: per level, from the validation set.

    Returns:
        ``metrics`` at .5; ``metrics_at_validation_thresholds``; ``oracle``: per level, the threshold of best balanced
        accuracy on these very faces, which is unknown in practice, with its `DECISION_METRICS`; ``calibrated``: per
        level, `CALIBRATION_METRICS` after temperature scaling on the validation set.
    """
    oracle = choose_thresholds(counted)
    at_thresholds, at_oracle = (
        {
            level: {name: values[name] for name in DECISION_METRICS}
            for level, values in score_table(counted, each).items()
        }
        for each in (thresholds, oracle)
    )
    calibrated = {
        level: score_table(apply_temperature(at_level(counted, level), temperatures[level]))[level] for level in LEVELS
    }
    return {
        "metrics": score_table(counted),
        "metrics_at_validation_thresholds": at_thresholds,
        "oracle": {level: {"threshold": oracle[level], **at_oracle[level]} for level in LEVELS},
        "calibrated": {level: {name: calibrated[level][name] for name in CALIBRATION_METRICS} for level in LEVELS},
    }


def _note_replaced(path: Path, test_set: TestSet, console: Console) -> None:
    """Say that the scores of other faces under the same name are replaced."""
    try:
        before = json.loads(path.read_text())["test_data"]["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):  # there are none, or they are damaged
        return
    if before not in (None, test_set.faces.about["fingerprint"]):
        console.print(f"{path}: scores on other faces ({before}) are replaced.", highlight=False, markup=False)


def _audit(run: Run, test_set: TestSet) -> dict:
    """What the training faces share with those of another corpus."""
    training = run.faces.manifest.iloc[run.training_rows]
    tested = test_set.faces.manifest.iloc[test_set.rows]
    drawn = run.record["synthetic"] or test_set.faces.about["synthetic"]
    return audit_foreign(training, tested, same_people_same_name=not drawn)


def _describe_perturbation(test_set: TestSet, predictions: pd.DataFrame) -> dict | None:
    """Name and level, and how much they change the faces (`deepfake_ms.evaluation.change.Change`)."""
    changes = test_set.perturbation
    return {"name": changes.name, "level": changes.level, **predictions.attrs["change"]} if changes else None


def _videos(predictions: pd.DataFrame, thresholds: dict[str, float], temperatures: dict[str, float]) -> pd.DataFrame:
    """One row per video: P(fake), the same after temperature scaling, and the decision at the run's own threshold.

    There is no decision if the run has no threshold, because its validation set lacks a class.
    """
    videos = video_scores(predictions)
    videos["label"] = videos["label"].map(dict(enumerate(CLASS_NAMES))).fillna(UNLABELLED)
    videos["calibrated_fake_probability"] = apply_temperature(videos, temperatures["video"])["fake_probability"]
    decided = (videos["fake_probability"] > thresholds["video"]).map({True: "fake", False: "real"})
    return videos.assign(decision=decided if math.isfinite(thresholds["video"]) else None)


def _count_classes(labels: pd.Series) -> dict[str, int]:
    return labels.map(dict(enumerate(CLASS_NAMES))).fillna(UNLABELLED).value_counts().to_dict()


def _null_for_nan(value):
    """The same with None in place of NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _null_for_nan(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_null_for_nan(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value
