"""Stops a training whose loss is NaN or infinite, and names the faces of that batch."""

from collections import deque
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
from torch import Tensor

from deepfake_ms.errors import UserError
from deepfake_ms.files import write_json

NAME = "non_finite_loss.json"


@dataclass(frozen=True)
class Batch:
    """A training batch: its number in the epoch, from 0, and its faces' rows in the manifest, int [B]."""

    epoch: int
    number: int
    rows: Tensor


class LossWatch:
    """Looks for losses that are not finite, without making the processor wait for a GPU.

    On a GPU, the verdict on a loss is copied in the background and read one batch later; `first_bad(wait=True)` reads
    it at once.
    """

    def __init__(self) -> None:
        self.pending: deque[tuple[Tensor, torch.cuda.Event | None, Batch]] = deque()

    def note(self, loss: Tensor, batch: Batch) -> None:
        """Note the loss of a batch."""
        finite, event = torch.isfinite(loss.detach()), None
        if finite.is_cuda:
            finite = finite.to("cpu", non_blocking=True)
            event = torch.cuda.Event()
            event.record()
        self.pending.append((finite, event, batch))

    def first_bad(self, wait: bool = False) -> Batch | None:
        """The first batch since the last call whose loss is known not to be finite."""
        while self.pending:
            finite, event, batch = self.pending[0]
            if event is not None:
                if not wait and len(self.pending) == 1:
                    return None
                event.synchronize()
            self.pending.popleft()
            if not finite:
                return batch
        return None


def refuse_loss(run: Path, stage: str, sample_ids: list[str], trainer: L.Trainer, bad: Batch | None) -> None:
    """Write the faces of the bad batches of all ranks to ``RUN/non_finite_loss.json``; every rank calls this.

    Args:
        run: the run's folder.
        stage: name of the current stage.
        sample_ids: of the manifest's rows.
        trainer: of the stage.
        bad: the bad batch of this rank; None if only another rank has one.

    Raises:
        UserError: always.
    """
    found = bad and {
        "epoch": bad.epoch + 1,
        "batch": bad.number + 1,
        "rank": trainer.global_rank,
        "sample_ids": [sample_ids[row] for row in bad.rows.tolist()],
    }
    each = [found]
    if trainer.world_size > 1:
        each = [None] * trainer.world_size
        torch.distributed.all_gather_object(each, found)
    batches = [one for one in each if one]
    path = run / NAME
    if trainer.is_global_zero:
        write_json(path, {"stage": stage, "batches": batches})
    first = batches[0]
    raise UserError(
        f"The training loss was NaN or infinite in stage {stage}, epoch {first['epoch']}, batch {first['batch']}: "
        f"check the faces listed in {path}, or lower optimization.optimizer.lr and give the run a new name."
    )
