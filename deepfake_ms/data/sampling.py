"""A keyed order of the training samples for each epoch, and a loader that can resume in the middle of an epoch."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from deepfake_ms.errors import UserError
from deepfake_ms.randomness import key


class EpochSampler(Sampler[tuple[int, int]]):
    """One rank's part of a new permutation in each epoch, as (epoch, position) pairs.

    The permutation depends only on seed, stage and epoch. Rank r takes every world_size-th element, starting with
    element r, so ranks never overlap. All ranks yield the same number of samples in full batches; the few samples left
    over, different ones in each epoch, are skipped in this epoch. A part smaller than one batch is yielded as one small
    batch.

    Args:
        count: number of training samples; positions are 0..count-1.
        batch_size: batch size per rank.
        seed, stage: keys of the permutation.
        rank, world_size: rank of this process and number of processes.

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
        self.first_sample = 0
        """The sample of the epoch at which the next iteration starts."""

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
        return iter([(self.epoch, position) for position in share[self.first_sample :]])


class ResumableLoader(DataLoader):
    """A DataLoader over an `EpochSampler` that Lightning can stop and resume between any two batches.

    Lightning stores `state_dict` in every checkpoint. After `load_state_dict`, the unfinished epoch continues with the
    batch after the last finished one. Finished batches are skipped by index, without reading their samples.

    `finished` returns the number of finished batches of the epoch. Without it, a batch counts as finished once it is
    yielded, which is one too many if an exception (Ctrl-C) during the training step triggers the checkpoint.
    """

    def __init__(self, *args: Any, finished: Callable[[], int] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.finished = finished
        self.yielded = 0
        self.unfinished_epoch: int | None = None
        self.resume_after = 0

    def __iter__(self) -> Iterator[Any]:
        # As a generator, this code runs at the first next(), because Lightning calls iter() before it sets the epoch.
        # If the epoch differs by then, the checkpoint was written at the end of its epoch, and nothing is skipped.
        first = self.resume_after if self.sampler.epoch == self.unfinished_epoch else 0
        self.unfinished_epoch = None
        self.sampler.first_sample = first * self.batch_size  # of the loader: a step may take several batches
        self.yielded = first
        for batch in super().__iter__():
            self.yielded += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.sampler.epoch, "batches": self.finished() if self.finished else self.yielded}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.sampler.set_epoch(state["epoch"])
        self.unfinished_epoch = state["epoch"]
        self.resume_after = state["batches"]
