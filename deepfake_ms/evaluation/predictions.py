"""Predictions of a finished run on a test set, one row per face, kept in the run's folder."""

import io
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import lightning as L
import pandas as pd
import pyarrow as pa
import torch
from lightning.pytorch.callbacks import Callback

from deepfake_ms.data.dataset import LABELS
from deepfake_ms.data.loaders import evaluation_loader
from deepfake_ms.errors import UserError
from deepfake_ms.evaluation.test_set import TestSet
from deepfake_ms.files import append_line, write_atomically
from deepfake_ms.provenance import code_version
from deepfake_ms.training.detector import Detector
from deepfake_ms.training.run import Run
from deepfake_ms.training.run_folder import config_hash
from deepfake_ms.training.stage_chain import LAST, checkpoint_sha256, finished_chain, load_weights
from deepfake_ms.training.trainer import EVALUATION_PRECISION, TrainerSettings

SELECTED = "selected"
CHECKPOINTS = (SELECTED, LAST)
PREDICTIONS_NAME, EVALUATIONS_NAME = "predictions.parquet", "test_evaluations.jsonl"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of a finished run.

    Attributes:
        name: ``selected``, which the last stage hands on, or ``last``, its last epoch.
        path: the file.
        sha256: of the file; None if it is missing.
    """

    name: str
    path: Path
    sha256: str | None

    @classmethod
    def of(cls, run: Run, name: str) -> "Checkpoint":
        """A checkpoint by its name.

        Raises:
            UserError: the name is unknown, the run is not finished, or the selected checkpoint has changed.
        """
        if name not in CHECKPOINTS:
            hint = "; handoff is now called selected" if name == "handoff" else ""
            raise UserError(f"checkpoint={name} is unknown; choose from {', '.join(CHECKPOINTS)}{hint}.")
        stages = run.curriculum.stages
        chain = finished_chain(run.folder, len(stages))
        path = run.folder / (chain[-1].checkpoint if name == SELECTED else f"{stages[-1].name}/{LAST}.ckpt")
        sha256 = checkpoint_sha256(path) if path.is_file() else None
        if name == SELECTED and sha256 not in (None, chain[-1].sha256):
            raise UserError(f"{path} has changed since its stage finished: delete the run's folder and train again.")
        return cls(name, path, sha256)


def result_folder(run: Run, test_set: TestSet, checkpoint: str) -> Path:
    """Folder of the results of a checkpoint on a test set: ``evaluation/<test set>/<checkpoint>``."""
    return run.folder / "evaluation" / test_set.name / checkpoint


def has_predictions(run: Run, test_set: TestSet, checkpoint: Checkpoint) -> bool:
    """Whether the predictions of exactly this checkpoint on exactly these faces are on disk."""
    path = result_folder(run, test_set, checkpoint.name) / PREDICTIONS_NAME
    if checkpoint.sha256 is None or not path.is_file():
        return False
    try:
        known = pd.read_parquet(path).attrs
    except (pa.ArrowException, OSError):  # damaged
        return False
    return all(known.get(key) == value for key, value in _identity(test_set, checkpoint).items())


def predict(run: Run, test_set: TestSet, checkpoint: Checkpoint, settings: TrainerSettings) -> None:
    """Score every face of `test_set` and write ``predictions.parquet``; every rank calls this.

    The columns are `sample_id`, `video_id`, `label` (0 real, 1 fake, -1 unlabelled), `method` and `fake_probability`
    (0..1). Each evaluation of a test set other than validation adds a line to `EVALUATIONS_NAME` in the run's folder,
    before the first face is scored. Inference is in 32-bit precision.

    Raises:
        UserError: the checkpoint is missing, a crop cannot be read, or the perturbation changes nothing.
    """
    stage = run.curriculum.stages[-1]
    detector = run.detector(stage, from_scratch=False)
    detector.load_state_dict(load_weights(checkpoint.path))
    about = _identity(test_set, checkpoint)
    about |= {"code": code_version(), "device": settings.device_name, "precision": EVALUATION_PRECISION}
    if test_set.perturbation:
        about["change"] = asdict(test_set.measure_change(detector.model.input_size))
    log = None if test_set.is_validation else run.folder / EVALUATIONS_NAME
    writer = _WritePredictions(result_folder(run, test_set, checkpoint.name), test_set, about, log)
    evaluation = settings.for_evaluation()
    trainer = evaluation.build(logger=False, enable_checkpointing=False, callbacks=[writer])
    faces = test_set.dataset(detector.model.input_size)
    trainer.test(detector, datamodule=_Faces(faces, stage.batch_size, settings.num_workers), verbose=False)


def read_predictions(run: Run, test_set: TestSet, checkpoint: str) -> pd.DataFrame:
    """The predictions that `predict` wrote; `attrs` identify checkpoint, faces and perturbation.

    With a perturbation, ``attrs["change"]`` holds how much it changes the faces (`Change`).

    Raises:
        UserError: a prediction is not finite.
    """
    path = result_folder(run, test_set, checkpoint) / PREDICTIONS_NAME
    predictions = pd.read_parquet(path)
    if not_finite := int(predictions["fake_probability"].isna().sum()):
        raise UserError(
            f"{path}: P(fake) of {not_finite} faces is not finite: train again with "
            "trainer.lightning.precision=32-true under a new name."
        )
    return predictions


def count_evaluations(run: Run) -> int:
    """Number of test set evaluations of `run`, over all checkpoints."""
    path = run.folder / EVALUATIONS_NAME
    return len(path.read_text().splitlines()) if path.is_file() else 0


def _identity(test_set: TestSet, checkpoint: Checkpoint) -> dict[str, str]:
    """What identifies predictions: test set, faces, perturbation and checkpoint."""
    return {
        "test_set": test_set.name,
        "manifest_sha256": test_set.faces.manifest_sha256,
        "rows_sha256": config_hash(test_set.rows.tolist()),
        "perturbation": json.dumps(asdict(test_set.perturbation) if test_set.perturbation else None, sort_keys=True),
        "checkpoint": checkpoint.name,
        "checkpoint_sha256": checkpoint.sha256,
    }


class _Faces(L.LightningDataModule):
    """The loader of a test set, built once the Trainer knows rank and number of processes."""

    def __init__(self, faces: torch.utils.data.Dataset, batch_size: int, num_workers: int):
        super().__init__()
        self.faces, self.batch_size, self.num_workers = faces, batch_size, num_workers

    def test_dataloader(self) -> torch.utils.data.DataLoader:
        trainer = self.trainer
        return evaluation_loader(self.faces, self.batch_size, self.num_workers, trainer.global_rank, trainer.world_size)


class _WritePredictions(Callback):
    """Rank 0 logs the evaluation of a test set, then writes the predictions of all ranks.

    Args:
        folder: of the predictions.
        test_set: whose faces are scored.
        about: identity of the predictions (`_identity`) and more, written to the file and, with the time, to the log.
        log: of test evaluations; None for the validation set.
    """

    def __init__(self, folder: Path, test_set: TestSet, about: dict[str, object], log: Path | None):
        self.folder, self.about, self.log_path = folder, about, log
        self.faces = test_set.faces.manifest[["sample_id", "video_id", "label", "method"]]

    def on_test_start(self, trainer: L.Trainer, pl_module: Detector) -> None:
        if self.log_path is None or not trainer.is_global_zero:
            return
        entry = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **self.about}
        append_line(self.log_path, json.dumps(entry))

    def on_test_end(self, trainer: L.Trainer, pl_module: Detector) -> None:
        if not trainer.is_global_zero:
            return
        faces = self.faces.iloc[pl_module.predictions["index"]].reset_index(drop=True)
        faces["label"] = faces["label"].map(LABELS)
        faces["fake_probability"] = pl_module.predictions["fake_probability"]
        faces.attrs = self.about
        buffer = io.BytesIO()
        faces.to_parquet(buffer, index=False)
        write_atomically(self.folder / PREDICTIONS_NAME, buffer.getvalue())
