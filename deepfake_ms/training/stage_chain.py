"""StageChain: carries weights from each curriculum stage to the next, on one process or many, and survives kills.

`chain.json` in the run's folder alone says which stages are finished and what each hands over; a stage whose entry is
missing is trained, from its own `last.ckpt` if there is one, else from the weights that the stage before handed over.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException

from deepfake_ms.errors import UserError
from deepfake_ms.files import sha256_of, write_json
from deepfake_ms.training.curriculum import Curriculum, Stage

CHAIN_NAME = "chain.json"
BEST, LAST = "best", "last"
STAMP = "deepfake_ms_stage"


@dataclass(frozen=True)
class Handoff:
    """What a finished stage hands over.

    Attributes:
        stage: its name.
        checkpoint: path relative to the run's folder.
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
        raise UserError(f"{path} is gone: delete the run's folder and train again.")
    if sha256 is not None and sha256_of(path) != sha256:
        raise UserError(f"{path} has changed since its stage handed it over: delete the run's folder and train again.")
    return torch.load(path, weights_only=True, map_location="cpu")["state_dict"]


class ResumePoint(Callback):
    """`last.ckpt`: every n steps, after each epoch, and when a scheduler takes the machine away (SIGTERM).

    Never between an epoch's last batch and its validation: Lightning, resumed from there, leaves the validation out.
    Nor at other exceptions: only between two batches is a stage's state whole enough to go on bit for bit.
    """

    def __init__(self, path: Path, every_n_steps: int):
        self.path, self.every_n_steps = path, every_n_steps

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_) -> None:
        if trainer.global_step % self.every_n_steps == 0 and not trainer.is_last_batch:
            trainer.save_checkpoint(self.path)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.save_checkpoint(self.path)  # at the end of a stage: the epoch that the released test path evaluates

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        if isinstance(exception, SIGTERMException) and trainer.training and not trainer.is_last_batch:
            trainer.save_checkpoint(self.path)


class StageChain(Callback):
    """Hands weights into and out of one stage.

    At the start, all ranks must agree on the stage; unless the stage resumes from its own checkpoint, the weights of
    the stage before are loaded (weights only: optimizer and schedule start afresh). Every checkpoint is stamped with
    stage and configuration, and one with another stamp is refused. At the end, rank 0 appends the handoff to
    chain.json.

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
        """The checkpoint that a stopped run left inside this stage, if any."""
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
                f"{trainer.ckpt_path} was not made by stage {self.stage.name} of this run: "
                "delete it, and the stage starts from what the stage before handed over."
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
