"""The log of a curriculum: a CSV file, whose steps go on counting over the stages."""

from collections.abc import Callable
from pathlib import Path

import lightning as L
import pandas as pd
from lightning.pytorch.callbacks import Callback

from deepfake_ms.files import write_atomically

METRICS_NAME = "metrics.csv"


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


class AfterEpoch(Callback):
    """Calls `report` on rank 0 when an epoch is in `metrics.csv`; goes after `MetricsTable`."""

    def __init__(self, report: Callable[[], None]):
        self.report = report

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            self.report()
