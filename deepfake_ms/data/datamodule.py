"""The loaders of one curriculum stage."""

import logging
from pathlib import Path

import cv2
import lightning as L
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from torch.utils.data import DataLoader, Dataset

from deepfake_ms.data.augmentation import FACIAL_SWAP, build_augmentation
from deepfake_ms.data.dataset import FaceDataset, normalise
from deepfake_ms.data.face_masks import EyeMask
from deepfake_ms.data.face_pairs import NO_PARTNER, find_partners
from deepfake_ms.data.sampling import EpochSampler, ResumableLoader
from deepfake_ms.data.splits import SUBSETS, balance
from deepfake_ms.labels import CLASS_NAMES, FAKE
from deepfake_ms.manifest import read_manifest

_log = logging.getLogger(__name__)


def _start_worker(worker: int) -> None:
    cv2.setNumThreads(0)  # OpenCV's thread pool does not survive a fork


class _Batches(Dataset):
    """Lets a DataLoader take whole batches from a `FaceDataset` instead of faces."""

    def __init__(self, faces: FaceDataset) -> None:
        self.faces = faces

    def __len__(self) -> int:
        return len(self.faces)

    def __getitems__(self, items: list[int | tuple[int, int]]) -> dict[str, torch.Tensor]:
        return self.faces.batch(items)


def _as_it_is(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return batch


class FaceDataModule(L.LightningDataModule):
    """Training, validation and test faces of one stage.

    Training faces are balanced (as many real as fake), masked if the stage says so, and augmented. Validation and test
    faces are all the faces of their subset, never masked and never augmented (as in the released code). For a Trainer
    with `use_distributed_sampler=False`: the samplers here share the faces out among the ranks themselves, without
    padding, so that no validation or test face counts twice.

    The loaders hand out images as bytes, uint8 [B, 3, S, S]; `on_after_batch_transfer`, which the Trainer calls, makes
    them the model's normalised float32 on its device.

    Args:
        prepared: folder with the manifest and the crops.
        subsets: "train", "validation", "test" or "unused" for each row of the manifest, from `split_manifest`.
        faces: of the training set, "cropped" or "masked_eyes".
        eye_mask: needed for "masked_eyes".
        augmentation: name of the training set's augmentation, see `build_augmentation`. With "facial_swap", training
            fakes are swapped with the faces of the training set that they were made from, and training batches have
            an `artifact_box`, see `FaceDataset.batch`; how many fakes have such a face is logged.
        per_class: at most this many training faces of each class.
        input_size, mean, std: the model's.
        batch_size: per rank.
        num_workers: of each loader.
        seed: keys the balancing (equal in all stages), the order and the augmentation.
        stage: name of the stage; keys the order and the augmentation.
    """

    def __init__(
        self,
        prepared: Path | str,
        subsets: pd.Series,
        *,
        faces: str = "cropped",
        eye_mask: EyeMask | None = None,
        augmentation: str = "standard",
        per_class: int = 4000,
        input_size: int,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        batch_size: int = 32,
        num_workers: int = 0,
        seed: int = 0,
        stage: str = "",
    ) -> None:
        super().__init__()
        self.prepared = Path(prepared)
        self.subsets = subsets
        self.faces = faces
        self.eye_mask = eye_mask
        self.augmentation = augmentation
        self.per_class = per_class
        self.input = {"input_size": input_size, "mean": mean, "std": std}
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.stage = stage

    def setup(self, stage: str) -> None:
        manifest = read_manifest(self.prepared)
        rows = {subset: np.flatnonzero(self.subsets == subset) for subset in SUBSETS}
        if stage == "test":
            self.test_set = FaceDataset(manifest, rows["test"], self.prepared, **self.input)
            return
        chosen = balance(manifest, rows["train"], self.per_class, self.seed)
        self.train_set = FaceDataset(
            manifest,
            chosen,
            self.prepared,
            partners=self._partners(manifest, chosen, rows["train"]),
            faces=self.faces,
            eye_mask=self.eye_mask,
            augmentation=build_augmentation(self.augmentation),
            seed=self.seed,
            stage=self.stage,
            **self.input,
        )
        self.validation_set = FaceDataset(manifest, rows["validation"], self.prepared, **self.input)

    def _partners(self, manifest: pd.DataFrame, rows: np.ndarray, among: np.ndarray) -> np.ndarray | None:
        if self.augmentation != FACIAL_SWAP:
            return None
        partners = find_partners(manifest, rows, among)
        if self._place()[0] == 0:
            paired = np.count_nonzero(partners != NO_PARTNER)
            fakes = np.count_nonzero(manifest["label"].iloc[rows] == CLASS_NAMES[FAKE])
            _log.info("%s: %d of %d training fakes have their source beside them", FACIAL_SWAP, paired, fakes)
        return partners

    def train_dataloader(self) -> ResumableLoader:
        rank, world_size = self._place()
        sampler = EpochSampler(len(self.train_set), self.batch_size, self.seed, self.stage, rank, world_size)
        return ResumableLoader(
            _Batches(self.train_set),
            sampler=sampler,
            finished=self._finished_batches if self.trainer else None,
            **self._loading(),
        )

    def val_dataloader(self) -> DataLoader:
        return self._evaluation_loader(self.validation_set)

    def test_dataloader(self) -> DataLoader:
        return self._evaluation_loader(self.test_set)

    def on_after_batch_transfer(self, batch: dict[str, torch.Tensor], dataloader_idx: int) -> dict[str, torch.Tensor]:
        """`batch` with its images normalised."""
        return {**batch, "image": normalise(batch["image"], self.input["mean"], self.input["std"])}

    def _evaluation_loader(self, dataset: FaceDataset) -> DataLoader:
        rank, world_size = self._place()
        sampler = UnrepeatedDistributedSampler(dataset, num_replicas=world_size, rank=rank, shuffle=False)
        return DataLoader(_Batches(dataset), sampler=sampler, **self._loading())

    def _loading(self) -> dict:
        return {
            "batch_size": self.batch_size,
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
            "pin_memory": torch.cuda.is_available(),
            "collate_fn": _as_it_is,
            "worker_init_fn": _start_worker,
            # A loader draws a base seed from the global stream each time it starts; a resumed run starts it once more.
            "generator": torch.Generator(),
        }

    def _place(self) -> tuple[int, int]:
        """Rank and number of processes."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _finished_batches(self) -> int:
        return self.trainer.fit_loop.epoch_loop.batch_progress.current.processed
