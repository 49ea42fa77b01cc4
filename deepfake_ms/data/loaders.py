"""The loaders of one curriculum stage, and of a test set."""

import functools
import os
import signal
import threading
import time

import cv2
import lightning as L
import torch
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from torch.utils.data import DataLoader, Dataset

from deepfake_ms.data.dataset import FaceDataset
from deepfake_ms.data.sampling import EpochSampler, ResumableLoader
from deepfake_ms.errors import UserError

_WORKER_GRACE_S = 2
"""Seconds after which a loader process ends that has received SIGTERM."""
_PARENT_CHECK_S = 1
"""Seconds between two looks of a loader process whether its parent is still there."""


class StageData(L.LightningDataModule):
    """Training and validation faces of one stage.

    For a Trainer with `use_distributed_sampler=False`: the samplers here distribute the faces over the processes
    themselves, without padding, so that no validation face counts twice.

    Args:
        training: the training faces, with the mask and augmentation of the stage.
        validation: the validation faces, neither masked nor augmented (as in the released code).
        batch_size: faces per optimizer step, over all processes and all accumulated batches.
        num_workers: processes of each loader.
        seed, stage: key the order of the training faces.
    """

    def __init__(
        self,
        training: FaceDataset,
        validation: FaceDataset,
        batch_size: int,
        num_workers: int = 0,
        seed: int = 0,
        stage: str = "",
    ) -> None:
        super().__init__()
        self.training, self.validation = training, validation
        self.batch_size, self.num_workers = batch_size, num_workers
        self.seed, self.stage = seed, stage

    def train_dataloader(self) -> ResumableLoader:
        """Batches of one process; the Trainer accumulates them to optimizer steps of `batch_size` faces.

        Raises:
            UserError: the batch size is not a multiple of processes times accumulated batches.
        """
        rank, world_size = place(self.trainer)
        accumulated = self.trainer.accumulate_grad_batches if self.trainer else 1
        if self.batch_size % (world_size * accumulated):
            parts = f" with {accumulated} accumulated batches each" if accumulated > 1 else ""
            raise UserError(
                f"optimization.batch_size={self.batch_size} cannot be divided equally among {world_size} "
                f"process{'es' if world_size > 1 else ''}{parts}: choose a multiple of {world_size * accumulated}."
            )
        share = self.batch_size // world_size
        sampler = EpochSampler(len(self.training), share, self.seed, self.stage, rank, world_size)
        return ResumableLoader(
            _Batches(self.training),
            sampler=sampler,
            finished=self._finished_batches if self.trainer else None,
            **loading(share // accumulated, self.num_workers),
        )

    def val_dataloader(self) -> DataLoader:
        return evaluation_loader(self.validation, self.batch_size, self.num_workers, *place(self.trainer))

    def _finished_batches(self) -> int:
        return self.trainer.fit_loop.epoch_loop.batch_progress.current.processed


def evaluation_loader(
    faces: FaceDataset, batch_size: int, num_workers: int, rank: int = 0, world_size: int = 1
) -> DataLoader:
    """Every face once, in order; `batch_size` is over all processes."""
    sampler = UnrepeatedDistributedSampler(faces, num_replicas=world_size, rank=rank, shuffle=False)
    return DataLoader(_Batches(faces), sampler=sampler, **loading(max(1, batch_size // world_size), num_workers))


def place(trainer: L.Trainer | None) -> tuple[int, int]:
    """Rank and number of processes."""
    return (trainer.global_rank, trainer.world_size) if trainer else (0, 1)


def loading(batch_size: int, num_workers: int) -> dict:
    """Arguments of all our DataLoaders."""
    return {
        "batch_size": batch_size,
        "num_workers": num_workers,
        "persistent_workers": num_workers > 0,
        "pin_memory": torch.cuda.is_available(),
        "collate_fn": _unchanged,
        "worker_init_fn": functools.partial(_start_worker, os.getpid()),
        # Each start of a loader draws a base seed from the global generator; a resumed run has one more start.
        "generator": torch.Generator(),
    }


class _Batches(Dataset):
    """Lets a DataLoader take whole batches from a `FaceDataset` instead of faces."""

    def __init__(self, faces: FaceDataset) -> None:
        self.faces = faces

    def __len__(self) -> int:
        return len(self.faces)

    def __getitems__(self, items: list[int | tuple[int, int]]) -> dict[str, torch.Tensor]:
        return self.faces.batch(items)


def _unchanged(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return batch


def _start_worker(parent: int, worker: int) -> None:
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    cv2.setNumThreads(0)  # OpenCV's thread pool does not survive a fork
    # A signal to the whole job (Ctrl-C, SLURM) also reaches the workers, which the main process needs until it has
    # finished its step. It ends them itself; after a SIGTERM, SIGALRM ends it a few seconds later.
    for name in ("SIGINT", "SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_WORKER_GRACE_S))


def _end_with(parent: int) -> None:
    """End this process when its parent has ended.

    torch notes the parent later than this. If the parent has ended by then, torch never notices, and the loader process
    would wait forever.
    """
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_S)
    os._exit(1)
