"""Logs of a curriculum: a CSV file always, Weights & Biases when asked for. Steps go on counting over the stages."""

import os
from pathlib import Path

import lightning as L
import pandas as pd
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig

from deepfake_ms.files import write_atomically

METRICS_NAME = "metrics.csv"
WANDB_ID_NAME = "wandb_id.txt"


class MetricsTable(Callback):
    """One row per epoch in the run's `metrics.csv`; a resumed stage writes its epochs again, never twice.

    The `train/loss` of the epoch in which a run was resumed is the mean over the batches since then.

    Args:
        run: the run's folder.
        stage: name of the current stage.
        faces: what the stage trains on.
        first_step: optimizer steps of the stages before.
    """

    def __init__(self, run: Path, stage: str, faces: str, first_step: int):
        self.path, self.stage, self.faces, self.first_step = run / METRICS_NAME, stage, faces, first_step

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        values = trainer.callback_metrics  # on all ranks: reading them gathers them
        if not trainer.is_global_zero:
            return
        row = {
            "stage": self.stage,
            "faces": self.faces,
            "epoch": trainer.current_epoch + 1,
            "step": self.first_step + trainer.global_step,
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            **{name: float(value) for name, value in sorted(values.items())},
        }
        rows = pd.DataFrame([row])
        if self.path.is_file():
            earlier = pd.read_csv(self.path)
            repeated = (earlier["stage"] == self.stage) & (earlier["epoch"] >= row["epoch"])
            rows = pd.concat([earlier[~repeated], rows], ignore_index=True)
        write_atomically(self.path, rows.to_csv(index=False))


class CurriculumWandbLogger(WandbLogger):
    """One W&B run for all stages: `first_step` is added to each stage's own step count."""

    first_step = 0

    @rank_zero_only
    def log_metrics(self, metrics: dict, step: int | None = None) -> None:
        super().log_metrics(metrics, None if step is None else step + self.first_step)

    def begin_stage(self, number: int, name: str, first_step: int) -> None:
        """Count on from `first_step` and mark the border of the stage (`stage` in the history, a config entry)."""
        self.first_step = first_step
        self.log_metrics({"stage": number}, step=0)
        self.log_hyperparams({"stages": {name: {"number": number, "first_step": first_step}}})

    def log_finished_stage(self, number: int, name: str, first_step: int, rows: pd.DataFrame) -> None:
        """Log a stage that another run has trained, epoch by epoch.

        Args:
            number, name, first_step: as in `begin_stage`.
            rows: the stage's rows of `metrics.csv`.
        """
        self.begin_stage(number, name, first_step)
        for row in rows.drop(columns=["stage", "faces"]).to_dict("records"):
            step = row.pop("step") - 1 - first_step  # Lightning counts from 0
            self.log_metrics({**row, "epoch": row["epoch"] - 1}, step=step)

    @rank_zero_only
    def finish(self) -> None:
        """Close the run, so that all of it is on disk."""
        self.experiment.finish()


def wandb_logger(run: Path, settings: DictConfig, config: dict) -> CurriculumWandbLogger:
    """A logger whose run id is on disk before the first step, so that a killed and resumed run stays one run.

    Args:
        run: the run's folder; it also names the W&B run.
        settings: `project` and `group` as in W&B; `offline` writes to ``<run>/wandb``, which `wandb sync` sends later.
        config: what decides about the numbers.
    """
    id_file = run / WANDB_ID_NAME
    if not id_file.is_file():
        from wandb.sdk.lib.runid import generate_id

        write_atomically(id_file, generate_id())
    os.environ.setdefault("WANDB_SILENT", "true")
    return CurriculumWandbLogger(
        name=f"{run.parent.name}/{run.name}",
        save_dir=run,
        id=id_file.read_text().strip(),
        project=settings.project,
        group=settings.group,
        config=config,
        offline=settings.offline,
        resume="allow",
    )
