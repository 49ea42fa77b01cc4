"""A curriculum in miniature that trains in seconds: tests import it, and run it as a program for several processes.

python tests/tiny_run.py RUN PREPARED [--devices N] [--strategy ddp] [--kill RANK:EVENT]
"""

import argparse
import os
import signal
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback
from rich.console import Console

from deepfake_ms.data.loaders import FaceDataModule
from deepfake_ms.data.face_masks import EyeMask
from deepfake_ms.files import sha256_of
from deepfake_ms.manifest import SCHEMA, write_manifest
from deepfake_ms.quiet import hush
from deepfake_ms.randomness import key
from deepfake_ms.training.curriculum import Curriculum
from deepfake_ms.training.detector import Detector
from deepfake_ms.training.trainer import TrainerSettings, run_curriculum

SIZE = 32
FACES = 47  # odd on every subset, so that two processes never share evenly
SUBSETS = ["train"] * 25 + ["validation"] * 11 + ["test"] * 11
CURRICULUM = Curriculum.from_shares(
    [
        {"faces": "masked_eyes", "share": 0.4},
        {"faces": "cropped", "share": 0.3},
        {"faces": "masked_eyes", "share": 0.3},
    ],
    epochs=6,
    carry="best",
    monitor="validation/loss",
    mode="min",
)
MODEL = {
    "name": "genconvit_ed",
    "backbone": "resnet18",
    "embedder": "swin_tiny_patch4_window7_224",
    "swin": "live",
    "pretrained": False,
    "input_size": SIZE,
    "features": 8,
    "channels": [4, 8],
    "backbone_options": {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "drop_path_rate": 0.3},
    "embedder_options": {"embed_dim": 8, "depths": [1], "num_heads": [2]},
}
CPU = TrainerSettings(
    accelerator="cpu",
    devices=1,
    num_nodes=1,
    strategy="auto",
    precision="32-true",
    deterministic=True,
    save_every_n_steps=2,
    timeout_s=60,
    compile=False,
    channels_last=False,
    micro_batches=1,
)


def write_faces(folder: Path) -> Path:
    """A prepared folder of small noise images; fakes are brighter, so that there is something to learn."""
    random = np.random.default_rng(0)
    rows = []
    (folder / "crops").mkdir(parents=True)
    for number in range(FACES):
        fake = number % 2
        image = random.integers(0, 160, (SIZE, SIZE, 3)) + 60 * fake
        path = folder / "crops" / f"{number:03d}.png"
        cv2.imwrite(str(path), image.astype(np.uint8))
        empty = dict.fromkeys(SCHEMA.names)
        rows.append(
            empty
            | {
                "sample_id": f"{number:03d}",
                "video_id": f"video{number // 4 * 2 + fake}",
                "label": ("real", "fake")[fake],
                "method": ("real", "noise")[fake],
                "identities": [],
                "frame_index": number,
                "time_s": 0.0,
                "left_eye_x": 10.0,
                "left_eye_y": 14.0,
                "right_eye_x": 22.0,
                "right_eye_y": 14.0,
                "crop": f"crops/{number:03d}.png",
                "sha256": sha256_of(path),
            }
        )
    write_manifest(rows, folder)
    return folder


def make_detector() -> Detector:
    torch.manual_seed(key("weights", 0))
    optimizer = {"name": "AdamW", "lr": 1e-3, "weight_decay": 0.05}
    return Detector(MODEL, {"real": 1.0, "fake": 1.85}, optimizer, {"name": "OneCycleLR", "pct_start": 0.3})


def make_data(prepared: Path, stage, batch_size: int, num_workers: int = 0) -> FaceDataModule:
    return FaceDataModule(
        prepared,
        pd.Series(SUBSETS),
        faces=stage.faces,
        eye_mask=EyeMask(),
        augmentation="random_flips",
        input_size=SIZE,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        batch_size=batch_size,
        num_workers=num_workers,
        seed=0,
        stage=stage.name,
    )


class Killer(Callback):
    """Kills its own process at the n-th of the moments between which a run can die."""

    def __init__(self, rank: int, at: int, signal_number: int):
        self.rank, self.left, self.signal_number = rank, at, signal_number

    def _moment(self, trainer, *_, **__) -> None:
        if trainer.global_rank == self.rank:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), self.signal_number)

    on_train_batch_start = on_train_batch_end = on_validation_batch_end = _moment
    on_train_epoch_end = on_validation_end = on_train_end = on_fit_end = on_train_start = _moment


class FatalTrainerSettings(TrainerSettings):
    """Trainers that carry a `Killer`."""

    killer: Killer | None = None

    def build(self, **arguments):
        arguments["callbacks"] = [*arguments["callbacks"], self.killer]
        return super().build(**arguments)


def train(
    run: Path,
    prepared: Path,
    devices: int = 1,
    strategy: str = "auto",
    kill: tuple[int, int] | None = None,
    signal_number: int = signal.SIGKILL,
    num_workers: int = 0,
) -> None:
    """Train the tiny curriculum in `run`; `kill` is (rank, moment)."""
    hush()
    torch.set_num_threads(1)
    values = {name: getattr(CPU, name) for name in CPU.__dataclass_fields__}
    values |= {"devices": devices, "strategy": strategy}
    settings = (FatalTrainerSettings if kill else TrainerSettings)(**values)
    if kill:
        object.__setattr__(settings, "killer", Killer(*kill, signal_number))
    run_curriculum(
        run,
        CURRICULUM,
        make_detector(),
        lambda stage: make_data(prepared, stage, 4 // devices, num_workers),
        settings,
        seed=0,
        config_sha256="tiny",
        console=Console(quiet=True),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--strategy", default="auto")
    parser.add_argument("--kill", default=None)
    asked = parser.parse_args()
    moment = tuple(int(part) for part in asked.kill.split(":")) if asked.kill else None
    train(asked.run, asked.prepared, asked.devices, asked.strategy, moment)
