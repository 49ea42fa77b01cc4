"""Scores a finished run on faces that it was not trained on, and writes down what the scores rest on."""

import io
import json
import math
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import lightning as L
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from deepfake_ms.assembly import build_curriculum, build_data, build_detector
from deepfake_ms.data.splits import SUBSETS
from deepfake_ms.errors import UserError
from deepfake_ms.files import sha256_of, write_atomically, write_json
from deepfake_ms.labels import CLASS_NAMES
from deepfake_ms.manifest import MANIFEST_NAME, read_manifest
from deepfake_ms.provenance import code_version, library_versions
from deepfake_ms.scoring.metrics import (
    DECISION_METRICS,
    LEVELS,
    THRESHOLD_CRITERION,
    TITLES,
    choose_thresholds,
    score_table,
)
from deepfake_ms.training.curriculum import Curriculum
from deepfake_ms.training.detector import Detector
from deepfake_ms.training.run_folder import SPLIT_NAME, read_run
from deepfake_ms.training.stage_chain import LAST, load_weights, read_chain
from deepfake_ms.training.trainer import TrainerSettings

CHECKPOINTS = ("handoff", LAST)
SCORES_NAME, PREDICTIONS_NAME, OPENINGS_NAME = "scores.json", "predictions.parquet", "test_openings.jsonl"


def evaluate_run(
    run: Path,
    settings: TrainerSettings,
    num_workers: int,
    console: Console,
    checkpoint: str = "handoff",
    subset: str = "test",
    prepared: Path | None = None,
) -> dict:
    """Score `run` at threshold .5 and at the threshold that its validation set chooses.

    Writes ``evaluation/<subset>_<checkpoint>/predictions.parquet`` (one row per face with its sample id, video, label,
    method and P(fake)) and ``scores.json``; for the test set, first the predictions of the validation set. A subset is
    predicted once per checkpoint, never masked or augmented; scores are made from the predictions on disk. Every time
    the test set is predicted, ``test_openings.jsonl`` in the run's folder gets a line.

    Args:
        run: a run's folder with a finished chain.
        settings: hardware; the precision is the run's own.
        num_workers: loader processes per device.
        console: told when the predictions on disk are still right.
        checkpoint: what the last stage hands over, or its ``last`` epoch.
        subset: ``test`` or ``validation``.
        prepared: the faces, if they have moved since the training.

    Returns:
        The content of scores.json; on other ranks than 0 nothing.

    Raises:
        UserError: the run is not finished, its faces or checkpoint are gone or changed, a prediction is not finite, or
            an argument is unknown.
    """
    if checkpoint not in CHECKPOINTS:
        raise UserError(f"checkpoint={checkpoint} is unknown; choose from {', '.join(CHECKPOINTS)}.")
    if subset not in SUBSETS[1:]:
        raise UserError(f"subset={subset} is unknown; choose from {', '.join(SUBSETS[1:])}.")
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()  # rank 0 writes the end of the chain after the others have left the training
    record = read_run(run)
    config = OmegaConf.create(record["config"])
    path, _ = _checkpoint_file(run, build_curriculum(config), checkpoint)
    checkpoint_sha256 = sha256_of(path) if path.is_file() else None

    folders = {each: run / "evaluation" / f"{each}_{checkpoint}" for each in ("validation", subset)}
    # All ranks decide this before any of them writes, or they would not take part in the same passes.
    missing = [each for each, folder in folders.items() if not _holds_predictions(folder, checkpoint_sha256)]
    if subset not in missing:
        console.print(f"{folders[subset]}: this checkpoint is scored already.")
    if missing:
        _predict(run, record, checkpoint, {each: folders[each] for each in missing}, settings, num_workers, prepared)
    if rank_zero_only.rank != 0:
        return {}

    predictions, validation = (_read_predictions(folders[each]) for each in (subset, "validation"))
    thresholds = choose_thresholds(validation)
    at_thresholds = {
        level: {name: values[name] for name in DECISION_METRICS}
        for level, values in score_table(predictions, thresholds).items()
    }
    scores = {
        "protocol": protocol(config, subset, checkpoint, thresholds),
        "data": {**record["config"]["data"], "synthetic": record["synthetic"]},
        "subset": subset,
        "seed": config.seed,
        "trained_by": record["code"],
        "predicted_by": predictions.attrs["code"],
        "scored_by": code_version(),
        "libraries": library_versions(),
        "checkpoint_sha256": checkpoint_sha256,
        "frames": predictions["label"].map(dict(enumerate(CLASS_NAMES))).value_counts().to_dict(),
        "videos": int(predictions["video_id"].nunique()),
        "test_openings": count_openings(run),
        "threshold_criterion": f"{THRESHOLD_CRITERION} on validation",
        "validation_thresholds": thresholds,
        "metrics": score_table(predictions),
        "metrics_at_validation_thresholds": at_thresholds,
    }
    scores = _null_for_nan(scores)
    write_json(folders[subset] / SCORES_NAME, scores)
    return scores


def protocol(config: DictConfig, subset: str, checkpoint: str, thresholds: dict[str, float]) -> str:
    """One line that says how the scores came about."""
    fractions = ":".join(f"{fraction * 10:g}" for fraction in config.split.fractions)
    chosen = f"{config.curriculum.carry} checkpoint by {config.optimization.monitor}"
    values = ", ".join(f"{thresholds[level]:.4f} per {level}" for level in LEVELS)
    return (
        f"{subset} subset of split {config.split.policy} {fractions} (split seed {config.split.seed}), "
        f"{chosen if checkpoint == 'handoff' else 'last epoch'}, threshold .5 and the one of best "
        f"{TITLES[THRESHOLD_CRITERION].lower()} on validation ({values}), unmasked faces"
    )


def count_openings(run: Path) -> int:
    """How often the test set was predicted, with any checkpoint of `run`."""
    path = run / OPENINGS_NAME
    return len(path.read_text().splitlines()) if path.is_file() else 0


def print_scores(scores: dict, run: Path, console: Console) -> None:
    """Print a table of the scores and, under it, what they rest on."""
    title = f"{run.parent.name} · seed {scores['seed']} · {scores['data']['name']}"
    table = Table(title=f"{title} · SYNTHETIC DATA" if scores["data"]["synthetic"] else title, title_justify="left")
    table.add_column(f"{scores['subset'].capitalize()} scores (positive class: fake)")
    for level in LEVELS:
        table.add_column(f"per {level}, at .5", justify="right")
        table.add_column(f"at {_shown(scores['validation_thresholds'][level])}", justify="right")
    for name, heading in TITLES.items():
        cells = []
        for level in LEVELS:
            chosen = scores["metrics_at_validation_thresholds"][level]
            cells += [_shown(scores["metrics"][level][name]), _shown(chosen[name]) if name in chosen else ""]
        table.add_row(heading, *cells)
    console.print(table)
    if scores["test_openings"] > 1:
        console.print(f"The test set was opened {scores['test_openings']} times: {run / OPENINGS_NAME}")
    frames = ", ".join(f"{count} {label}" for label, count in sorted(scores["frames"].items()))
    console.print(
        f"Protocol: {scores['protocol']}\n"
        f"Data: {scores['data']['name']} {scores['data']['fingerprint']}"
        f"{' (synthetic: drawn faces, not comparable with published numbers)' if scores['data']['synthetic'] else ''}; "
        f"{frames} frames of {scores['videos']} videos; 1 seed\n"
        f"Code: {scores['scored_by']}",
        highlight=False,
        soft_wrap=True,
    )


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


class _WritePredictions(Callback):
    """Rank 0 logs that the test set is opened, and writes what all ranks scored, one row per face.

    Args:
        folder: of the predictions.
        manifest: the faces.
        about: what the predictions rest on; kept in the file and, with the time, in the log.
        openings: the log of the test set; None if another subset is scored.
    """

    def __init__(self, folder: Path, manifest: pd.DataFrame, about: dict[str, str], openings: Path | None):
        self.folder, self.about, self.openings = folder, about, openings
        self.faces = manifest[["sample_id", "video_id", "label", "method"]]

    def on_test_start(self, trainer: L.Trainer, pl_module: Detector) -> None:
        if self.openings is None or not trainer.is_global_zero:
            return
        opening = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **self.about}
        with self.openings.open("a") as stream:
            stream.write(json.dumps(opening) + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    def on_test_end(self, trainer: L.Trainer, pl_module: Detector) -> None:
        if not trainer.is_global_zero:
            return
        faces = self.faces.iloc[pl_module.predictions["index"]].reset_index(drop=True)
        faces["label"] = faces["label"].map({name: label for label, name in enumerate(CLASS_NAMES)})
        faces["fake_probability"] = pl_module.predictions["fake_probability"]
        faces.attrs = self.about
        buffer = io.BytesIO()
        faces.to_parquet(buffer, index=False)
        write_atomically(self.folder / PREDICTIONS_NAME, buffer.getvalue())


def _predict(
    run: Path,
    record: dict,
    checkpoint: str,
    folders: dict[str, Path],
    settings: TrainerSettings,
    num_workers: int,
    prepared: Path | None,
) -> None:
    """Let all ranks predict the subsets that `folders` names, one after the other, into its folders."""
    config = OmegaConf.create(record["config"])
    curriculum = build_curriculum(config)
    path, expected = _checkpoint_file(run, curriculum, checkpoint)
    weights = load_weights(path, expected)
    prepared = prepared or Path(record["prepared"])
    manifest = read_manifest(prepared)
    if sha256_of(prepared / MANIFEST_NAME) != record["manifest_sha256"]:
        raise UserError(f"{prepared} does not hold the faces {run} was trained on: name their folder with prepared=...")
    config.model.pretrained = False  # the run's checkpoint has all weights
    if "checkpoint" in config.model:
        config.model.checkpoint = None
    detector = build_detector(config)
    detector.load_state_dict(weights)
    about = {
        "checkpoint": checkpoint,
        "checkpoint_sha256": sha256_of(path),
        "manifest_sha256": record["manifest_sha256"],
        "code": code_version(),
    }
    subsets = pd.read_parquet(run / SPLIT_NAME)["subset"]
    for subset, folder in folders.items():
        scored = subsets.eq(subset).map({True: "test", False: "unused"})
        stage = curriculum.stages[-1]
        data = build_data(config, prepared, scored, stage, detector.model, settings.processes, num_workers)
        openings = run / OPENINGS_NAME if subset == "test" else None
        trainer = replace(settings, precision=config.precision).build(
            logger=False,
            enable_checkpointing=False,
            callbacks=[_WritePredictions(folder, manifest, about, openings)],
        )
        trainer.test(detector, datamodule=data, verbose=False)


def _checkpoint_file(run: Path, curriculum: Curriculum, checkpoint: str) -> tuple[Path, str | None]:
    """The file to score and, where the chain records it, its sha256."""
    chain = read_chain(run)
    if len(chain) < len(curriculum.stages):
        raise UserError(
            f"{run} has finished {len(chain)} of {len(curriculum.stages)} stages: "
            "run the same train command again, it continues."
        )
    if checkpoint == "handoff":
        return run / chain[-1].checkpoint, chain[-1].sha256
    return run / curriculum.stages[-1].name / f"{LAST}.ckpt", None


def _holds_predictions(folder: Path, checkpoint_sha256: str | None) -> bool:
    """Whether the predictions of this checkpoint, which is None if its file is gone, are in `folder`."""
    path = folder / PREDICTIONS_NAME
    if checkpoint_sha256 is None or not path.is_file():
        return False
    return pd.read_parquet(path).attrs.get("checkpoint_sha256") == checkpoint_sha256


def _read_predictions(folder: Path) -> pd.DataFrame:
    predictions = pd.read_parquet(folder / PREDICTIONS_NAME)
    if not_finite := int(predictions["fake_probability"].isna().sum()):
        raise UserError(
            f"{folder / PREDICTIONS_NAME}: P(fake) of {not_finite} faces is not a number: train again with "
            "trainer.precision=32-true under a new name."
        )
    return predictions


def _null_for_nan(value):
    """The same, with None in place of NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _null_for_nan(each) for key, each in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
