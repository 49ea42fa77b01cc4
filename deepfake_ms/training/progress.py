"""Progress of a curriculum on the console: stage, epoch, losses, time left."""

import time

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from deepfake_ms.console import wide_console
from deepfake_ms.training.curriculum import Curriculum


def rank_zero_console() -> Console:
    """A console that prints on rank 0 only; into a file or pipe, 120 characters wide unless COLUMNS says otherwise."""
    return wide_console(quiet=rank_zero_only.rank != 0, soft_wrap=True)


class CurriculumProgress(Callback):
    """A progress bar over the batches on a terminal, and one permanent line per epoch.

    Args:
        curriculum: all stages.
        index: the current one, from 0.
        console: where to write; only rank 0 writes.
    """

    def __init__(self, curriculum: Curriculum, index: int, console: Console):
        self.curriculum, self.index, self.console = curriculum, index, console
        self.title = f"stage {index + 1}/{len(curriculum.stages)} {curriculum.stages[index].title}"
        self.bar: Progress | None = None

    def __getstate__(self) -> dict:
        return {**self.__dict__, "console": None, "bar": None}  # ddp_spawn pickles callbacks; a console cannot be

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update({**state, "console": Console()})

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.started, self.first_epoch = time.monotonic(), trainer.current_epoch
        if trainer.is_global_zero and self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.bar = Progress(*columns, console=self.console, transient=True)
            total = trainer.num_training_batches * (trainer.max_epochs - trainer.current_epoch)
            self.task = self.bar.add_task(self.title, total=total)
            self.bar.start()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_) -> None:
        if self.bar:
            epoch = f"{self.title} · epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            self.bar.update(self.task, advance=1, description=epoch)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        values = trainer.callback_metrics  # on all ranks: reading metrics is a collective operation
        if not trainer.is_global_zero:
            return
        done = trainer.current_epoch + 1
        left = (time.monotonic() - self.started) / (done - self.first_epoch) * self._epochs_left(done)
        self.console.print(
            f"{self.title} · epoch {done}/{trainer.max_epochs} · "
            f"loss {values['train/loss']:.3f} · validation accuracy {values['validation/accuracy']:.3f} "
            f"macro F1 {values['validation/macro_f1']:.3f} AUROC {values['validation/auroc']:.3f} · "
            f"about {left / 60:.1f} min left",
            highlight=False,
        )

    def _epochs_left(self, done: int) -> int:
        """Epochs still to come in this stage and in those after it."""
        return sum(stage.epochs for stage in self.curriculum.stages[self.index :]) - done

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        if self.bar:
            self.bar.stop()
            self.bar = None
