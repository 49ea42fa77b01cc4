"""StageChain: carries weights from each curriculum stage to the next, in one process or many, and survives kills.

`chain.json` in the run's folder is the only record of which stages are finished and which checkpoint each hands on. A
stage without an entry is trained, from its own `last.ckpt` if there is one, else from the previous stage's weights.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from deepfake_ms.errors import UserError
from deepfake_ms.files import sha256_of, write_json
from deepfake_ms.training.callbacks import ResumePoint
from deepfake_ms.training.curriculum import Curriculum, Stage

CHAIN_NAME = "chain.json"
BEST, LAST = "best", "last"
STAMP = "deepfake_ms_stage"


@dataclass(frozen=True)
class Handoff:
    """The result of a finished stage.

    Attributes:
        stage: its name.
        checkpoint: path of the checkpoint that it hands on, relative to the run's folder.
        sha256: of that file.
        score: best value of the curriculum's monitor in this stage.
        steps: optimizer steps taken in this stage.
    """

    stage: str
    checkpoint: str
    sha256: str
    score: float
    steps: int


def read_chain(run: Path) -> list[Handoff]:
    """The handoffs of the finished stages, in order.

    Raises:
        UserError: chain.json is damaged.
    """
    path = run / CHAIN_NAME
    if not path.is_file():
        return []
    try:
        return [Handoff(**entry) for entry in json.loads(path.read_text())["stages"]]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}): delete the run's folder and train again.") from error


def load_weights(path: Path, sha256: str | None = None) -> dict[str, torch.Tensor]:
    """The detector's state dict in a checkpoint; no code in the file is run.

    Raises:
        UserError: the file is gone, or its sha256 is not the given one.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing: delete the run's folder and train again.")
    if sha256 is not None and sha256_of(path) != sha256:
        raise UserError(f"{path} has changed since its stage finished: delete the run's folder and train again.")
    return torch.load(path, weights_only=True, map_location="cpu")["state_dict"]


class StageChain(Callback):
    """Loads weights at the start of a stage and records its result at the end.

    At the start, all ranks must agree on the stage; unless the stage resumes from its own checkpoint, the weights of
    the previous stage are loaded (weights only: optimizer and schedule start afresh). Every checkpoint is stamped with
    stage and configuration; one with another stamp is refused. At the end, rank 0 appends the handoff to chain.json.

    Args:
        run: the run's folder.
        curriculum: all stages.
        index: which stage, from 0.
        config_sha256: of the run's configuration.
    """

    def __init__(self, run: Path, curriculum: Curriculum, index: int, config_sha256: str):
        self.run, self.curriculum, self.index = run, curriculum, index
        self.stage: Stage = curriculum.stages[index]
        self.folder = run / self.stage.name
        self.stamp = {"stage": self.stage.name, "config_sha256": config_sha256}
        self.best = ModelCheckpoint(
            self.folder,
            BEST,
            monitor=curriculum.monitor,
            mode=curriculum.mode,
            save_on_train_epoch_end=False,  # but right after validation, before the epoch's resume point
            enable_version_counter=False,
        )

    def callbacks(self, save_every_n_steps: int) -> list[Callback]:
        """This callback and the two checkpoints of its stage, `best.ckpt` and `last.ckpt`."""
        return [self, self.best, ResumePoint(self.folder / f"{LAST}.ckpt", save_every_n_steps)]

    def resume_point(self) -> Path | None:
        """The checkpoint that an interrupted run left in this stage, if any."""
        path = self.folder / f"{LAST}.ckpt"
        return path if path.is_file() else None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        agreed = trainer.strategy.broadcast(self.index, src=0)
        if agreed != self.index:
            raise RuntimeError(f"rank {trainer.global_rank} is in stage {self.index}, rank 0 in stage {agreed}")
        if self.index and trainer.ckpt_path is None:
            before = read_chain(self.run)[self.index - 1]
            pl_module.load_state_dict(load_weights(self.run / before.checkpoint, before.sha256))

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[STAMP] = self.stamp

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        if checkpoint.get(STAMP) != self.stamp:
            raise UserError(
                f"{trainer.ckpt_path} was not written by stage {self.stage.name} of this run: "
                "delete it, and the stage starts from the previous stage's weights."
            )

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.interrupted or not trainer.is_global_zero:
            return
        path = self.folder / f"{self.curriculum.carry}.ckpt"
        handoff = Handoff(
            stage=self.stage.name,
            checkpoint=path.relative_to(self.run).as_posix(),
            sha256=sha256_of(path),
            score=float(self.best.best_model_score),
            steps=trainer.global_step,
        )
        chain = [*read_chain(self.run)[: self.index], handoff]
        write_json(self.run / CHAIN_NAME, {"stages": [asdict(entry) for entry in chain]})
