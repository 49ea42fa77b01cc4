"""The order of the training samples, keyed by epoch, and a loader that resumes in the middle of one."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from deepfake_ms.errors import UserError
from deepfake_ms.randomness import key


class EpochSampler(Sampler[tuple[int, int]]):
    """One rank's share of a new permutation in each epoch, as (epoch, position) pairs.

    The permutation depends on seed, stage and epoch alone; rank r takes every world_size-th element from r on, so the
    ranks never overlap. All ranks hand out equally many samples in whole batches; the few left over (another few in
    each epoch) wait for the next epoch. A share smaller than one batch is used whole, as one small batch.

    Args:
        count: samples in the training set; positions are 0..count-1.
        batch_size: per rank.
        seed, stage: key the permutation.
        rank, world_size: of this process.

    Raises:
        UserError: there are fewer samples than processes.
    """

    def __init__(self, count: int, batch_size: int, seed: int, stage: str, rank: int = 0, world_size: int = 1) -> None:
        if count < world_size:
            raise UserError(f"{count} training samples are too few for {world_size} processes: use fewer devices.")
        self.count = count
        self.batch_size = batch_size
        self.seed = seed
        self.stage = stage
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.first_batch = 0
        """Where in the epoch the next iteration starts."""

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        share = self.count // self.world_size
        return max(share // self.batch_size * self.batch_size, min(share, self.batch_size))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = torch.Generator().manual_seed(key("order", self.seed, self.stage, self.epoch))
        order = torch.randperm(self.count, generator=generator).tolist()
        share = order[self.rank :: self.world_size][: len(self)]
        return iter([(self.epoch, position) for position in share[self.first_batch * self.batch_size :]])


class ResumableLoader(DataLoader):
    """A DataLoader over an `EpochSampler` that Lightning can stop and resume between any two batches.

    Lightning stores `state_dict` in every checkpoint. After `load_state_dict` the unfinished epoch goes on with the
    batch after the last finished one; the finished ones are skipped as indices, nothing is read for them.

    `finished` tells how many batches of the epoch are done. Without it a batch counts as soon as it is handed out,
    which is one too many if the checkpoint is written because of an exception (Ctrl-C) during the training step.
    """

    def __init__(self, *args: Any, finished: Callable[[], int] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.finished = finished
        self.handed_out = 0
        self.unfinished_epoch: int | None = None
        self.resume_after = 0

    def __iter__(self) -> Iterator[Any]:
        # A generator, so that this runs on the first next(): Lightning calls iter() before it sets the epoch. If by
        # then the epoch is another one, the checkpoint was written at the end of its epoch and nothing is skipped.
        first = self.resume_after if self.sampler.epoch == self.unfinished_epoch else 0
        self.unfinished_epoch = None
        self.sampler.first_batch = first
        self.handed_out = first
        for batch in super().__iter__():
            self.handed_out += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.sampler.epoch, "batches": self.finished() if self.finished else self.handed_out}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.sampler.set_epoch(state["epoch"])
        self.unfinished_epoch = state["epoch"]
        self.resume_after = state["batches"]
