"""A tiny run that trains in seconds: tests import it, and start it as a program for several processes.

python tests/tiny_run.py RUN PREPARED [--changes JSON] [--trainer JSON] [--kill RANK:MOMENT:SIGNAL]
"""

import argparse
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback
from omegaconf import OmegaConf
from rich.console import Console

from deepfake_ms.data.prepared_faces import PreparedFaces
from deepfake_ms.files import sha256_of, write_json
from deepfake_ms.manifest import LANDMARK_COLUMNS, SCHEMA, write_manifest
from deepfake_ms.preprocessing.prepared import PREPARED_NAME
from deepfake_ms.preprocessing.settings import PreparationSettings
from deepfake_ms.provenance import code_digest
from deepfake_ms.quiet import hush
from deepfake_ms.training.curriculum import Curriculum
from deepfake_ms.training.run import Run
from deepfake_ms.training.run_folder import find_record, new_record
from deepfake_ms.training.stage_chain import load_weights, read_chain
from deepfake_ms.training.train_stages import train_stages
from deepfake_ms.training.trainer import TrainerSettings, decisive_settings

SIZE = 32
LANDMARKS = (10.0, 14.0, 22.0, 14.0, 16.0, 19.0, 12.0, 25.0, 20.0, 25.0)
SUBSETS = ["train"] * 25 + ["validation"] * 11 + ["test"] * 11  # odd numbers: two processes never share evenly
FLIPS = {"name": "random_flips", "transforms": {"HorizontalFlip": {"p": 0.5}, "VerticalFlip": {"p": 0.5}}}
EYES = {"name": "eyes", "regions": {"eyes": {"width": 0.9, "height": 0.5}}, "place": "landmarks", "shape": "box"}
CONFIG = {
    "seed": 0,
    "data": {"name": "tiny", "fingerprint": "0123456789ab"},
    "split": {
        "policy": "video",
        "fractions": [0.6, 0.2, 0.2],
        "seed": 0,
        "per_class": 10,
        "held_out_methods": [],
        "require_disjoint": [],
    },
    "model": {
        "name": "small",
        "architecture": "genconvit_ed",
        "backbone": "resnet18",
        "embedder": "swin_tiny_patch4_window7_224",
        "swin": "live",
        "pretrained": False,
        "input_size": SIZE,
        "features": 8,
        "channels": [4, 8],
        "backbone_options": {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "drop_path_rate": 0.3},
        "embedder_options": {"embed_dim": 8, "depths": [1], "num_heads": [2]},
    },
    "optimization": {
        "name": "tiny",
        "epochs": 6,
        "batch_size": 4,
        "optimizer": {"name": "AdamW", "lr": 1e-3, "weight_decay": 0.05},
        "schedule": {"name": "OneCycleLR", "pct_start": 0.3},
        "monitor": "validation/loss",
        "mode": "min",
    },
    "augmentation": FLIPS,
    "loss": {"name": "weighted", "class_weights": {"real": 1.0, "fake": 1.85}},
    "mask": EYES,
    "curriculum": {
        "name": "masked_cropped_masked",
        "carry": "best",
        "stages": [
            {"faces": "masked", "share": 0.4},
            {"faces": "cropped", "share": 0.3},
            {"faces": "masked", "share": 0.3},
        ],
    },
    "trainer": {"precision": "32-true", "matmul_precision": "highest", "batch_parts": 1},
}
STAGES = ["1_masked_eyes", "2_cropped", "3_masked_eyes"]
STEPS = [6, 12, 18, 24, 30, 36]
"""Optimizer steps at the end of each epoch; every stage has two."""
ONE_STAGE = {"curriculum.stages": [{"faces": "cropped", "share": 1.0}], "optimization.epochs": 2}
VIT = {
    "model": {
        "name": "vit",
        "architecture": "timm_classifier",
        "backbone": "vit_tiny_patch16_224",
        "pretrained": False,
        "input_size": SIZE,
        "backbone_options": {"embed_dim": 16, "depth": 1, "num_heads": 2},
    },
    "optimization.optimizer": {"name": "SGD", "lr": 0.05, "momentum": 0.9},
    "loss.class_weights": {"real": 1.0, "fake": 1.0},
}
"""A model without BatchNorm, SGD and equal class weights: the gradient of a batch is the mean over its faces."""


def write_faces(folder: Path) -> Path:
    """A prepared folder of small noise images; fakes are brighter, so that there is something to learn."""
    random = np.random.default_rng(0)
    rows = []
    (folder / "crops").mkdir(parents=True)
    for number in range(len(SUBSETS)):
        fake = number % 2
        image = random.integers(0, 160, (SIZE, SIZE, 3)) + 60 * fake
        path = folder / "crops" / f"{number:03d}.png"
        cv2.imwrite(str(path), image.astype(np.uint8))
        rows.append(
            dict.fromkeys(SCHEMA.names)
            | {
                "sample_id": f"{number:03d}",
                "video_id": f"video{number // 4 * 2 + fake}",
                "label": ("real", "fake")[fake],
                "method": ("real", "noise")[fake],
                "identities": [],
                "frame_index": number,
                "time_s": 0.0,
                **dict(zip(LANDMARK_COLUMNS, LANDMARKS, strict=True)),
                "crop": f"crops/{number:03d}.png",
                "sha256": sha256_of(path),
                "perceptual_hash": sha256_of(path),  # no two faces are near-duplicates
            }
        )
    write_manifest(rows, folder)
    write_json(
        folder / PREPARED_NAME,
        {
            **{"data_name": "tiny", "fingerprint": "0123456789ab", "synthetic": True, "complete": True},
            "preparation": PreparationSettings().as_dict(),
        },
    )
    return folder


@dataclass(frozen=True)
class WatchedTrainer(TrainerSettings):
    """Trainers with further callbacks."""

    extra: tuple[Callback, ...] = ()

    def build(self, callbacks=(), **arguments):
        return super().build([*callbacks, *self.extra], **arguments)


def trainer(
    *,
    compile: bool = False,
    channels_last: bool = False,
    num_workers: int = 0,
    background_checkpoints: bool = False,
    extra: tuple[Callback, ...] = (),
    **lightning,
) -> WatchedTrainer:
    """Settings for the CPU; `lightning`: further arguments of `lightning.Trainer`."""
    hardware = {"accelerator": "cpu", "devices": 1, "strategy": "auto", "precision": "32-true", "deterministic": True}
    return WatchedTrainer(
        lightning={**hardware, **lightning},
        compile=compile,
        channels_last=channels_last,
        matmul_precision="highest",
        save_every_n_steps=2,
        background_checkpoints=background_checkpoints,
        timeout_s=60,
        num_workers=num_workers,
        extra=extra,
    )


def config(changes: Mapping | None = None) -> dict:
    """The tiny run's configuration with resolved stages, after `changes`: dotted key -> value."""
    changed = OmegaConf.create(CONFIG)
    for key, value in (changes or {}).items():
        OmegaConf.update(changed, key, value, merge=False, force_add=True)
    plain = OmegaConf.to_container(changed)
    plain["curriculum"]["stages"] = Curriculum.resolve(plain).as_records()
    return plain


def make_run(folder: Path, prepared: Path, changes: Mapping | None = None) -> Run:
    """The run in `folder`, begun or continued, with the fixed split `SUBSETS`."""
    faces = PreparedFaces.read(prepared)
    split = pd.DataFrame({"sample_id": faces.manifest["sample_id"], "subset": SUBSETS})
    split["balanced"] = split["subset"] == "train"
    about = {
        "prepared": str(prepared),
        "manifest_sha256": faces.manifest_sha256,
        "synthetic": True,
        "code": "deepfake_ms 0.1.0 (0123456789)",
        "code_sha256": code_digest(),
        "libraries": {"torch": "2"},
    }
    settings = config(changes)
    return Run(folder, find_record(folder, settings) or new_record(settings, about), faces, split)


class Moments(Callback):
    """Counts the moments between which a run can die, and calls `end` at the n-th one on one rank."""

    def __init__(self, at: int, rank: int = 0):
        self.left, self.rank = at, rank

    def end(self) -> None: ...

    def _moment(self, trainer, *_, **__) -> None:
        if trainer.global_rank == self.rank:
            self.left -= 1
            if self.left == 0:
                self.end()

    on_train_batch_start = on_train_batch_end = on_validation_batch_end = _moment
    on_train_epoch_end = on_validation_end = on_train_end = on_fit_end = on_train_start = _moment


class Killer(Moments):
    """Sends a signal to its own process."""

    def __init__(self, rank: int, at: int, signal_number: int = signal.SIGKILL):
        super().__init__(at, rank)
        self.signal_number = signal_number

    def end(self) -> None:
        os.kill(os.getpid(), self.signal_number)


class Interruption(BaseException):
    """What `Interrupter` raises."""


class Interrupter(Moments):
    """Ends the training without a signal and without a process of its own; nothing is saved then, as in a kill."""

    def end(self) -> None:
        raise Interruption


def train(
    folder: Path,
    prepared: Path,
    changes: Mapping | None = None,
    switches: Mapping | None = None,
    kill: tuple[int, ...] | None = None,
    report: Callable[[], None] | None = None,
) -> Run:
    """Train the tiny run in `folder`.

    Args:
        folder: of the run.
        prepared: of the faces.
        changes: of the configuration, see `config`.
        switches: arguments of `trainer`.
        kill: rank, moment and, unless it is SIGKILL, signal of a `Killer`.
        report: as for `train_stages`.
    """
    hush()
    torch.set_num_threads(1)
    switches = dict(switches or {})
    if kill:
        switches["extra"] = (*switches.get("extra", ()), Killer(*kill))
    settings = trainer(**switches)
    run = make_run(folder, prepared, {"trainer": decisive_settings(asdict(settings)), **(changes or {})})
    train_stages(run, settings, Console(quiet=True), report)
    return run


def interrupt(folder: Path, prepared: Path, moment: int, changes: Mapping | None = None, **switches) -> bool:
    """`train` until the n-th moment; whether it got that far before it finished."""
    try:
        train(folder, prepared, changes, {**switches, "extra": (Interrupter(moment),)})
    except Interruption:
        return True
    return False


PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tiny_run", "timm", "albumentations"])


def train_in_process(*arguments, **named) -> int:
    """Exit code of `train` in a process of its own."""
    return _run_processes([(_train_forking, arguments, named)])[0]


def train_on_two(*arguments, **named) -> list[int]:
    """Exit codes of two gloo ranks that `train` together, started as torchrun would start them."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    named["switches"] = {"devices": 2, "strategy": "ddp", **named.get("switches", {})}
    return _run_processes([(_train_rank, (rank, port, *arguments), named) for rank in range(2)])


def _train_rank(rank: int, port: int, *arguments, **named) -> None:
    os.environ.update(LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    _train_forking(*arguments, **named)


def _train_forking(*arguments, **named) -> None:
    # Else the fork server starts the loaders' workers; it outlives this process, and they would not notice its end.
    multiprocessing.set_start_method("fork", force=True)
    train(*arguments, **named)


def _run_processes(tasks: list[tuple]) -> list[int]:
    processes = [PROCESSES.Process(target=task, args=args, kwargs=named) for task, args, named in tasks]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    assert None not in codes, "the tiny run hangs"
    return codes


def launch_on_two(*arguments: object, kill: tuple[int, int, int] | None = None) -> subprocess.CompletedProcess:
    """This file as a program for RUN and PREPARED, whose first process starts the second one."""
    extra = ["--kill", ":".join(str(int(part)) for part in kill)] if kill else []
    return subprocess.run(
        [sys.executable, __file__, *arguments, "--trainer", '{"devices": 2, "strategy": "ddp"}', *extra],
        timeout=180,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def weights_of(run: Path) -> list[dict[str, torch.Tensor]]:
    """What each finished stage handed on."""
    return [load_weights(run / handoff.checkpoint, handoff.sha256) for handoff in read_chain(run)]


def assert_same_weights(run: Path, other: Path, **tolerance) -> None:
    """Every stage of two finished runs handed on the same weights: bit for bit, or within rtol and atol."""
    ours, theirs = weights_of(run), weights_of(other)
    assert len(ours) == len(theirs) > 0
    assert read_chain(run)[-1].stage == read_chain(other)[-1].stage
    for one, two in zip(ours, theirs, strict=True):
        assert one.keys() == two.keys()
        for name in one:
            torch.testing.assert_close(one[name], two[name], **(tolerance or {"rtol": 0, "atol": 0}), msg=name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--changes", type=json.loads, default=None)
    parser.add_argument("--trainer", type=json.loads, default=None)
    parser.add_argument("--kill", type=lambda text: tuple(map(int, text.split(":"))), default=None)
    asked = parser.parse_args()
    train(asked.run, asked.prepared, asked.changes, asked.trainer, asked.kill)
