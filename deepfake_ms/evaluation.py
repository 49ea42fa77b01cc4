"""Scores a finished run on faces that it was not trained on, and writes down what the scores rest on."""

import io
import json
from dataclasses import replace
from pathlib import Path

import lightning as L
import pandas as pd
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from deepfake_ms.assembly import build_curriculum, build_data, build_detector
from deepfake_ms.curriculum import Curriculum
from deepfake_ms.data.splits import SIDES
from deepfake_ms.detector import Detector
from deepfake_ms.errors import UserError
from deepfake_ms.files import sha256_of, write_atomically, write_json
from deepfake_ms.labels import CLASS_NAMES
from deepfake_ms.manifest import MANIFEST_NAME, read_manifest
from deepfake_ms.metrics import TITLES, score_table
from deepfake_ms.provenance import code_version, library_versions
from deepfake_ms.run_folder import SPLIT_NAME, read_run
from deepfake_ms.stage_chain import LAST, load_weights, read_chain
from deepfake_ms.training import TrainerSettings

CHECKPOINTS = ("handoff", LAST)
SCORES_NAME, PREDICTIONS_NAME = "scores.json", "predictions.parquet"


def evaluate_run(
    run: Path,
    settings: TrainerSettings,
    num_workers: int,
    console: Console,
    checkpoint: str = "handoff",
    side: str = "test",
    prepared: Path | None = None,
) -> dict:
    """Score `run`, or return the scores on disk when the same checkpoint was scored before.

    Writes ``evaluation/<side>_<checkpoint>/scores.json`` and ``predictions.parquet`` (one row per face with its
    sample id, video, label, method and P(fake)). Never masks or augments.

    Args:
        run: a run's folder with a finished chain.
        settings: hardware; the precision is the run's own.
        num_workers: loader processes per device.
        console: told when the scores on disk are still right.
        checkpoint: what the last stage hands over, or its ``last`` epoch.
        side: ``test`` or ``validation``.
        prepared: the faces, if they have moved since the training.

    Returns:
        The content of scores.json.

    Raises:
        UserError: the run is not finished, its faces or checkpoint are gone or changed, or an argument is unknown.
    """
    if checkpoint not in CHECKPOINTS:
        raise UserError(f"checkpoint={checkpoint} is unknown; choose from {', '.join(CHECKPOINTS)}.")
    if side not in SIDES[1:]:
        raise UserError(f"side={side} is unknown; choose from {', '.join(SIDES[1:])}.")
    record = read_run(run)
    config = OmegaConf.create(record["config"])
    path, expected = _checkpoint_file(run, build_curriculum(config), checkpoint)
    output = run / "evaluation" / f"{side}_{checkpoint}"
    if (found := _finished(output, path)) is not None:
        console.print(f"{output}: this checkpoint is scored already.")
        return found

    prepared = prepared or Path(record["prepared"])
    manifest = read_manifest(prepared)
    if sha256_of(prepared / MANIFEST_NAME) != record["manifest_sha256"]:
        raise UserError(f"{prepared} does not hold the faces {run} was trained on: name their folder with prepared=...")
    sides = pd.read_parquet(run / SPLIT_NAME)["side"]
    scored = sides.eq(side).map({True: "test", False: "unused"})
    config.model.pretrained = False  # the checkpoint has all weights
    detector = build_detector(config)
    detector.load_state_dict(load_weights(path, expected))
    trainer = replace(settings, precision=config.precision).build(
        logger=False, enable_checkpointing=False, callbacks=[_WritePredictions(output, manifest)]
    )
    stage = build_curriculum(config).stages[-1]
    data = build_data(config, prepared, scored, stage, detector.model, settings.processes, num_workers)
    trainer.test(detector, datamodule=data, verbose=False)
    if not trainer.is_global_zero:
        return {}

    predictions = pd.read_parquet(output / PREDICTIONS_NAME)
    scores = {
        "protocol": protocol(config, side, checkpoint),
        "data": {**record["config"]["data"], "synthetic": record["synthetic"]},
        "seed": config.seed,
        "trained_by": record["code"],
        "scored_by": code_version(),
        "libraries": library_versions(),
        "checkpoint_sha256": sha256_of(path),
        "frames": predictions["label"].map(dict(enumerate(CLASS_NAMES))).value_counts().to_dict(),
        "videos": int(predictions["video_id"].nunique()),
        "metrics": score_table(predictions),
    }
    write_json(output / SCORES_NAME, scores)
    return scores


def protocol(config: DictConfig, side: str, checkpoint: str) -> str:
    """One line that says how the scores came about."""
    fractions = ":".join(f"{fraction * 10:g}" for fraction in config.split.fractions)
    chosen = f"{config.curriculum.carry} checkpoint by {config.recipe.monitor}"
    return (
        f"{side} side of split {config.split.policy} {fractions} (split seed {config.split.seed}), "
        f"{chosen if checkpoint == 'handoff' else 'last epoch'}, threshold .5, unmasked faces"
    )


def print_scores(scores: dict, run: Path, console: Console) -> None:
    """Print a table of the scores and, under it, what they rest on."""
    title = f"{run.parent.name} · seed {scores['seed']} · {scores['data']['name']}"
    table = Table(title=f"{title} · SYNTHETIC DATA" if scores["data"]["synthetic"] else title, title_justify="left")
    table.add_column("Test scores (positive class: fake)")
    for level in scores["metrics"]:
        table.add_column(f"per {level}", justify="right")
    for name, heading in TITLES.items():
        table.add_row(heading, *(f"{values[name]:.4f}" for values in scores["metrics"].values()))
    console.print(table)
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


class _WritePredictions(Callback):
    """Rank 0 writes what all ranks scored, one row per face, and logs that the side was opened."""

    def __init__(self, folder: Path, manifest: pd.DataFrame):
        self.folder = folder
        self.faces = manifest[["sample_id", "video_id", "label", "method"]]

    def on_test_end(self, trainer: L.Trainer, pl_module: Detector) -> None:
        if not trainer.is_global_zero:
            return
        faces = self.faces.iloc[pl_module.predictions["index"]].reset_index(drop=True)
        faces["label"] = faces["label"].map({name: label for label, name in enumerate(CLASS_NAMES)})
        faces["fake_probability"] = pl_module.predictions["fake_probability"]
        buffer = io.BytesIO()
        faces.to_parquet(buffer, index=False)
        write_atomically(self.folder / PREDICTIONS_NAME, buffer.getvalue())


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


def _finished(output: Path, checkpoint: Path) -> dict | None:
    """The scores in `output`, if they are of this checkpoint."""
    if not (output / SCORES_NAME).is_file() or not checkpoint.is_file():
        return None
    scores = json.loads((output / SCORES_NAME).read_text())
    return scores if scores["checkpoint_sha256"] == sha256_of(checkpoint) else None
