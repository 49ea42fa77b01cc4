"""Small Lightning callbacks of a stage: randomness, resume points, signals and reports."""

import signal
from collections.abc import Callable
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException

from deepfake_ms.randomness import key
from deepfake_ms.training.loss_watch import Batch, LossWatch


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
    """Saves `last.ckpt` every n steps, after each epoch, and at a signal, and keeps the one before as `previous.ckpt`.

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
            self._save(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._save(trainer)  # at the end of a stage, the epoch that train.py -t of the release evaluates

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        if isinstance(exception, SIGTERMException) and trainer.training and not trainer.is_last_batch:
            self._save(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(self.path, storage_options=previous_of(self.path))


def previous_of(last: Path) -> Path:
    """The resume point before `last.ckpt`, for the case that a disk damages it."""
    return last.with_name("previous.ckpt")


class StopTogether(Callback):
    """Ends training at a signal or at a loss that is not finite, on all ranks after the same step.

    Signals are SIGTERM, SIGINT (Ctrl-C), and SIGUSR1 and SIGUSR2, which SLURM sends before a time limit. This callback
    only notes them and forwards a SIGTERM to the processes that this one has started: Lightning's own handler
    broadcasts while the other ranks wait in a different collective, which deadlocks. The ranks agree after each
    optimizer step, before anything is saved. Validation is aborted at once, because it is repeated on resume. A second
    Ctrl-C ends the process at once.

    A checkpoint is never written after a loss that is not finite; see `deepfake_ms.training.loss_watch`.

    Args:
        refuse: called on all ranks with this rank's bad batch, or None, if a loss was not finite; raises.
    """

    SIGNALS = tuple(
        getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
    )

    def __init__(self, refuse: Callable[[L.Trainer, Batch | None], None]) -> None:
        self.received, self.watch, self.refuse = 0, LossWatch(), refuse
        self.ranks: torch.distributed.ProcessGroup | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.world_size > 1:
            self.ranks = torch.distributed.new_group(backend="gloo")

        def note(number: int, _) -> None:
            if number == signal.SIGINT == self.received:
                raise KeyboardInterrupt
            if not self.received and trainer.strategy.launcher is not None:
                trainer.strategy.launcher.kill(signal.SIGTERM)
            self.received = self.received or number

        for number in self.SIGNALS:
            signal.signal(number, note)  # Lightning finally restores the handlers from before its own

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: dict, batch: dict, batch_idx: int
    ) -> None:
        self.watch.note(outputs["loss"], Batch(trainer.current_epoch, batch_idx, batch["index"]))
        if not ends_a_step(trainer, batch_idx):
            return
        bad = self.watch.first_bad()
        received, not_finite = self._agree(self.received, bad is not None)
        if not_finite:
            self.refuse(trainer, bad)
        if received and not trainer.is_last_batch:
            self.received = received
            raise SIGTERMException

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict) -> None:
        bad = self.watch.first_bad(wait=True)
        if any(self._agree(bad is not None)):
            self.refuse(trainer, bad)

    def _agree(self, *values: int) -> list[int]:
        """The largest of each value over all ranks; through gloo, because NCCL would wait for the GPU."""
        agreed = torch.tensor(values, dtype=torch.int64)
        if self.ranks:
            torch.distributed.all_reduce(agreed, torch.distributed.ReduceOp.MAX, group=self.ranks)
        return agreed.tolist()

    def on_validation_batch_end(self, *_) -> None:
        if self.received:
            raise SIGTERMException

    def exit(self, rank: int) -> None:
        """End the process: with 128 + the signal, or by the handler that was there before, e.g. that of submitit.

        Other ranks than 0 end with 0: Lightning kills rank 0 as soon as a process that it has started fails.
        """
        if rank:
            raise SystemExit(0)
        if signal.getsignal(self.received) not in (signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler, None):
            signal.raise_signal(self.received)
        raise SystemExit(128 + self.received)


class AfterEpoch(Callback):
    """Calls `report` on rank 0 after each epoch; must come after `MetricsTable`, which writes `metrics.csv`."""

    def __init__(self, report: Callable[[], None]):
        self.report = report

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            self.report()
