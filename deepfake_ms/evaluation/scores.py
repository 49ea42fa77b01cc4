"""Scores of a finished run on a test set, with their provenance."""

import math

import pandas as pd
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from rich.console import Console
from rich.table import Table

from deepfake_ms.evaluation.predictions import (
    EVALUATIONS_NAME,
    SELECTED,
    Checkpoint,
    count_evaluations,
    has_predictions,
    predict,
    read_predictions,
    result_folder,
)
from deepfake_ms.evaluation.test_set import TestSet
from deepfake_ms.files import write_json
from deepfake_ms.labels import CLASS_NAMES
from deepfake_ms.provenance import code_version, library_versions
from deepfake_ms.scoring.metrics import (
    DECISION_METRICS,
    LEVELS,
    THRESHOLD_CRITERION,
    TITLES,
    choose_thresholds,
    score_table,
)
from deepfake_ms.training.run import Run
from deepfake_ms.training.trainer import TrainerSettings

SCORES_NAME = "scores.json"


def evaluate(
    run: Run, test_set: TestSet, settings: TrainerSettings, console: Console, checkpoint: str = SELECTED
) -> dict:
    """Score `run` on a test set, at threshold .5 and at the threshold chosen on its validation set.

    Writes ``evaluation/<test set>/<checkpoint>/scores.json`` beside the predictions, first those on the run's own
    validation set. A test set is predicted once per checkpoint; scores are computed from the predictions on disk.

    Args:
        run: with all stages finished.
        test_set: to score.
        settings: hardware.
        console: prints a note if the predictions on disk are up to date.
        checkpoint: ``selected`` or ``last``, see `Checkpoint`.

    Returns:
        The content of scores.json; empty on ranks other than 0.

    Raises:
        UserError: the run is not finished, its faces or checkpoint are missing or have changed, a prediction is not
            finite, or an argument is unknown.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()  # rank 0 completes chain.json after the other ranks have left training
    chosen = Checkpoint.of(run, checkpoint)
    validation_set = TestSet.of_run(run, "validation")
    wanted = {each.name: each for each in (validation_set, test_set)}
    # All ranks decide this before any of them writes; otherwise they would run different passes.
    missing = [each for each in wanted.values() if not has_predictions(run, each, chosen)]
    for each in missing:
        predict(run, each, chosen, settings)
    if rank_zero_only.rank != 0:
        return {}
    folder = result_folder(run, test_set, checkpoint)
    if test_set.name not in {each.name for each in missing}:
        console.print(f"{folder}: predictions of this checkpoint are up to date.", highlight=False, markup=False)

    predictions, validation = (read_predictions(run, each, checkpoint) for each in (test_set, validation_set))
    thresholds = choose_thresholds(validation)
    at_thresholds = {
        level: {name: values[name] for name in DECISION_METRICS}
        for level, values in score_table(predictions, thresholds).items()
    }
    scores = {
        "protocol": protocol(run, test_set, checkpoint, thresholds),
        "data": {**run.config["data"], "synthetic": run.record["synthetic"]},
        "test_set": test_set.name,
        "perturbation": _describe_perturbation(test_set, predictions),
        "seed": run.seed,
        "trained_by": run.record["code"],
        "predicted_by": {key: predictions.attrs[key] for key in ("code", "device", "precision")},
        "scored_by": code_version(),
        "libraries": library_versions(),
        "checkpoint_sha256": chosen.sha256,
        "frames": predictions["label"].map(dict(enumerate(CLASS_NAMES))).value_counts().to_dict(),
        "videos": int(predictions["video_id"].nunique()),
        "test_evaluations": count_evaluations(run),
        "threshold_criterion": f"{THRESHOLD_CRITERION} on validation",
        "validation_thresholds": thresholds,
        "metrics": score_table(predictions),
        "metrics_at_validation_thresholds": at_thresholds,
    }
    scores = _null_for_nan(scores)
    write_json(folder / SCORES_NAME, scores)
    return scores


def protocol(run: Run, test_set: TestSet, checkpoint: str, thresholds: dict[str, float]) -> str:
    """The evaluation protocol in one line."""
    split, curriculum = run.config["split"], run.curriculum
    fractions = ":".join(f"{fraction * 10:g}" for fraction in split["fractions"])
    best = checkpoint == SELECTED and curriculum.stages[-1].carry == "best"
    chosen = f"best checkpoint by {curriculum.monitor}" if best else "last epoch"
    values = ", ".join(f"{thresholds[level]:.4f} per {level}" for level in LEVELS)
    criterion = TITLES[THRESHOLD_CRITERION].lower()
    changes = test_set.perturbation
    changed = f" perturbed by {changes.name}, level {changes.level}" if changes else ""
    return (
        f"{test_set.name} set of split {split['policy']} {fractions} (split seed {split['seed']}), {chosen}, threshold "
        f".5 and the threshold of best {criterion} on validation ({values}), unmasked faces{changed}"
    )


def _describe_perturbation(test_set: TestSet, predictions: pd.DataFrame) -> dict | None:
    """Name and level, and how much they change the faces (`deepfake_ms.evaluation.change.Change`)."""
    changes = test_set.perturbation
    return {"name": changes.name, "level": changes.level, **predictions.attrs["change"]} if changes else None


def print_scores(scores: dict, run: Run, console: Console) -> None:
    """Print a table of the scores and, below it, their provenance."""
    synthetic = scores["data"]["synthetic"]
    row, data = run.folder.parent.name, scores["data"]["name"]
    title = f"Scores on {scores['test_set']} · {row} · seed {scores['seed']} · {data}"
    table = Table(title=f"{title} · SYNTHETIC DATA" if synthetic else title, title_justify="left")
    table.add_column("positive class: fake")
    for level in LEVELS:
        table.add_column(f"per {level}\nat .5", justify="right")
        table.add_column(f"per {level}\nat {_shown(scores['validation_thresholds'][level])}", justify="right")
    for name, heading in TITLES.items():
        cells = []
        for level in LEVELS:
            chosen = scores["metrics_at_validation_thresholds"][level]
            cells += [_shown(scores["metrics"][level][name]), _shown(chosen[name]) if name in chosen else ""]
        table.add_row(heading, *cells)
    console.print(table)
    if scores["test_evaluations"] > 1:
        console.print(
            f"This run has been evaluated {scores['test_evaluations']} times on test sets: "
            f"{run.folder / EVALUATIONS_NAME}",
            markup=False,
            highlight=False,
        )
    if changes := scores["perturbation"]:
        console.print(
            f"Perturbation: {changes['name']}, level {changes['level']}; mean PSNR {changes['mean_psnr']:.1f} dB, "
            f"{changes['share_changed']:.0%} of {changes['images']} faces changed",
            highlight=False,
            markup=False,
        )
    frames = ", ".join(f"{count} {label}" for label, count in sorted(scores["frames"].items()))
    note = " (synthetic: drawn faces, not comparable with published numbers)" if synthetic else ""
    console.print(
        f"Protocol: {scores['protocol']}\n"
        f"Data: {scores['data']['name']} {scores['data']['fingerprint']}{note}; "
        f"{frames} frames of {scores['videos']} videos; 1 seed\n"
        f"Code: {scores['scored_by']}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _null_for_nan(value):
    """The same with None in place of NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _null_for_nan(each) for key, each in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
