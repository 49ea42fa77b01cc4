"""The log of a curriculum: a CSV file with one step counter across all stages."""

from pathlib import Path

import lightning as L
import pandas as pd
from lightning.pytorch.callbacks import Callback

from deepfake_ms.errors import UserError
from deepfake_ms.files import write_atomically
from deepfake_ms.training.curriculum import Stage

METRICS_NAME = "metrics.csv"


def read_metrics(path: Path) -> pd.DataFrame:
    """The learning curves of a run.

    Raises:
        UserError: the file is damaged.
    """
    try:
        metrics = pd.read_csv(path)
        metrics[["stage", "epoch"]]
    except (ValueError, KeyError) as error:  # pandas' own errors are ValueErrors
        raise UserError(f"{path} is damaged ({error}): delete it; the curves of earlier epochs are lost.") from error
    return metrics


class MetricsTable(Callback):
    """One row per epoch in the run's `metrics.csv`; a resumed stage replaces its rows instead of repeating them.

    `learning_rate` is that of the epoch's last step. The `train/loss` of the epoch in which a run was resumed is the
    mean over the batches since then.

    Args:
        folder: of the run.
        stage: the current one.
        first_step: optimizer steps of the earlier stages.
    """

    def __init__(self, folder: Path, stage: Stage, first_step: int):
        self.path, self.stage, self.faces, self.first_step = folder / METRICS_NAME, stage.name, stage.title, first_step

    def on_train_batch_start(self, trainer: L.Trainer, *_) -> None:
        # not at the end of the epoch, when the schedule has already advanced
        self.rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        values = trainer.callback_metrics  # on all ranks: reading metrics is a collective operation
        if not trainer.is_global_zero:
            return
        row = {
            "stage": self.stage,
            "faces": self.faces,
            "epoch": trainer.current_epoch + 1,
            "step": self.first_step + trainer.global_step,
            "learning_rate": self.rate,
            **{name: float(value) for name, value in sorted(values.items())},
        }
        rows = pd.DataFrame([row])
        if self.path.is_file():
            earlier = read_metrics(self.path)
            repeated = (earlier["stage"] == self.stage) & (earlier["epoch"] >= row["epoch"])
            rows = pd.concat([earlier[~repeated], rows], ignore_index=True)
        write_atomically(self.path, rows.to_csv(index=False))
