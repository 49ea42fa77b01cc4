"""Small Lightning callbacks of a stage: randomness, resume points, SIGTERM and reports."""

import signal
from collections.abc import Callable
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException

from deepfake_ms.randomness import key


def ends_a_step(trainer: L.Trainer, batch_index: int) -> bool:
    """Whether an optimizer step follows this batch; False between accumulated batches."""
    return (batch_index + 1) % trainer.accumulate_grad_batches == 0


class StepRandomness(Callback):
    """Seeds torch before every batch by (seed, stage, epoch, batch, rank), so that a resumed run draws the same."""

    def __init__(self, seed: int, stage: str):
        self.seed, self.stage = seed, stage

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: dict, batch_idx: int):
        torch.manual_seed(key("step", self.seed, self.stage, trainer.current_epoch, batch_idx, trainer.global_rank))


class ResumePoint(Callback):
    """Saves `last.ckpt` every n steps, after each epoch, and at SIGTERM (e.g. from a cluster scheduler).

    It does not save between an epoch's last batch and its validation, because Lightning would skip the validation on
    resume, nor between accumulated batches or at other exceptions: bit-exact resume needs the state between two steps.
    """

    def __init__(self, path: Path, every_n_steps: int):
        self.path, self.every_n_steps = path, every_n_steps

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: object, batch: dict, batch_idx: int
    ) -> None:
        due = trainer.global_step % self.every_n_steps == 0
        if due and ends_a_step(trainer, batch_idx) and not trainer.is_last_batch:
            trainer.save_checkpoint(self.path)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.save_checkpoint(self.path)  # at the end of a stage, the epoch that train.py -t of the release evaluates

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        if isinstance(exception, SIGTERMException) and trainer.training and not trainer.is_last_batch:
            trainer.save_checkpoint(self.path)


class StopAtSigterm(Callback):
    """Ends training after SIGTERM, between two steps and on all ranks after the same step.

    Lightning's own handler broadcasts while the other ranks wait in a different collective, which deadlocks. This
    callback only sets a flag and forwards the signal to the processes that this one has started. The ranks synchronise
    the flag after each training step, through gloo: NCCL would wait for the GPU to finish the step. Validation is
    aborted at once, because it is repeated on resume.
    """

    def __init__(self) -> None:
        self.asked = False
        self.ranks: torch.distributed.ProcessGroup | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.world_size > 1:
            self.ranks = torch.distributed.new_group(backend="gloo")

        def note(*_) -> None:
            if not self.asked and trainer.strategy.launcher is not None:
                trainer.strategy.launcher.kill(signal.SIGTERM)
            self.asked = True

        signal.signal(signal.SIGTERM, note)  # Lightning finally restores the handler from before its own

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: object, batch: dict, batch_idx: int
    ) -> None:
        if not ends_a_step(trainer, batch_idx):
            return
        asked = torch.tensor(int(self.asked))
        if self.ranks:
            torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX, group=self.ranks)
        if asked and not trainer.is_last_batch:
            self.asked = True
            raise SIGTERMException

    def on_validation_batch_end(self, *_) -> None:
        if self.asked:
            raise SIGTERMException


class AfterEpoch(Callback):
    """Calls `report` on rank 0 after each epoch; must come after `MetricsTable`, which writes `metrics.csv`."""

    def __init__(self, report: Callable[[], None]):
        self.report = report

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            self.report()
