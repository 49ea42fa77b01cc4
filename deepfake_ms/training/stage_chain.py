"""StageChain: carries weights from each curriculum stage to the next, in one process or many, and survives kills.

`chain.json` in the run's folder is the only record of which stages are finished and which checkpoint each hands on. A
stage without an entry is trained, from its own `last.ckpt` if there is one, else from the previous stage's weights.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor

from deepfake_ms.errors import UserError
from deepfake_ms.files import link_or_copy, sha256_of, write_json
from deepfake_ms.training.callbacks import ResumePoint, previous_of
from deepfake_ms.training.checkpoint_files import find_damage, read_checkpoint
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
        trained_by: `code`, `code_sha256`, `libraries`, `device` and number of `processes` that trained it; several
            entries if the stage was interrupted and continued under other conditions.
    """

    stage: str
    checkpoint: str
    sha256: str
    score: float
    steps: int
    trained_by: list[dict[str, Any]] = field(default_factory=list)


def read_chain(run: Path) -> list[Handoff]:
    """The handoffs of the finished stages, in order.

    Raises:
        UserError: chain.json is damaged.
    """
    path = run / CHAIN_NAME
    if not path.is_file():
        return []
    try:
        return [_checked(Handoff(**entry)) for entry in json.loads(path.read_text())["stages"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}): delete the run's folder and train again.") from error


def _checked(handoff: Handoff) -> Handoff:
    """The same handoff.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: a value is of another kind, or its checkpoint lies outside the
            run.
    """
    for name, kind in (("stage", str), ("checkpoint", str), ("sha256", str), ("steps", int), ("trained_by", list)):
        if type(getattr(handoff, name)) is not kind:
            raise ValueError(f"{name} is of the wrong kind")
    if type(handoff.score) not in (int, float):
        raise ValueError("score is of the wrong kind")
    path = PurePosixPath(handoff.checkpoint)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("a checkpoint lies outside the run's folder")
    for about in handoff.trained_by:
        if not isinstance(about["code_sha256"], str):
            raise ValueError("code_sha256 is of the wrong kind")
    return handoff


def finished_chain(run: Path, stages: int) -> list[Handoff]:
    """The handoffs of all stages of a finished run.

    Raises:
        UserError: the run is not finished, or chain.json is damaged.
    """
    chain = read_chain(run)
    if len(chain) < stages:
        raise UserError(
            f"{run} has finished {len(chain)} of {stages} stages: run the same train command again; it continues."
        )
    return chain


def checkpoint_sha256(path: Path) -> str:
    """Sha256 of a checkpoint, cached in a file beside it until its size or modification time changes."""
    note, stat = path.with_name(f".{path.name}.sha256.json"), path.stat()
    state = {"size": stat.st_size, "changed_ns": stat.st_mtime_ns}
    try:
        noted = json.loads(note.read_text())
        if state.items() <= noted.items():
            return noted["sha256"]
    except (OSError, ValueError, KeyError, AttributeError):
        pass  # no note, or a damaged one
    digest = sha256_of(path)
    with suppress(OSError):  # read-only folder
        write_json(note, {**state, "sha256": digest})
    return digest


def load_weights(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """The detector's state dict in a checkpoint, see `read_checkpoint`.

    Raises:
        UserError: the file is missing or damaged, its sha256 differs, or it is not the checkpoint of a detector.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing: delete the run's folder and train again.")
    if sha256 is not None and checkpoint_sha256(path) != sha256:
        raise UserError(f"{path} has changed since its stage finished: delete the run's folder and train again.")
    weights = read_checkpoint(path).get("state_dict")
    if not isinstance(weights, dict):
        raise UserError(f"{path} has no state_dict: give the checkpoint of a detector.")
    return weights


class BestCheckpoint(ModelCheckpoint):
    """`best.ckpt`: the weights of the best epoch.

    Lightning keeps absolute paths in the state of a run and forgets the best score if the folder was moved. Here the
    state holds file names only, so that a run can be moved between two starts.
    """

    PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")

    def state_dict(self) -> dict[str, Any]:
        return self._with_paths(super().state_dict(), lambda path: Path(path).name, dirpath="")

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        folder = Path(self.dirpath)
        super().load_state_dict(self._with_paths(state_dict, lambda path: str(folder / Path(path).name), str(folder)))

    def _with_paths(self, state: dict[str, Any], change: Callable[[str], str], dirpath: str) -> dict[str, Any]:
        paths = {key: change(state[key]) if state[key] else "" for key in self.PATHS}
        kept = {change(path): score for path, score in state["best_k_models"].items()}
        return {**state, **paths, "best_k_models": kept, "dirpath": dirpath}


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
        about: code, libraries, device and number of processes that train now; see `Handoff.trained_by`.
    """

    def __init__(
        self, run: Path, curriculum: Curriculum, index: int, config_sha256: str, about: dict[str, Any] | None = None
    ):
        self.run, self.curriculum, self.index = run, curriculum, index
        self.trained_by = [about] if about else []
        self.handoff: Handoff | None = None
        self.stage: Stage = curriculum.stages[index]
        self.folder = run / self.stage.name
        self.stamp = {"stage": self.stage.name, "config_sha256": config_sha256}
        self.best = BestCheckpoint(
            self.folder,
            BEST,
            save_weights_only=True,
            monitor=curriculum.monitor,
            mode=curriculum.mode,
            save_on_train_epoch_end=False,  # but right after validation, before the epoch's resume point
            enable_version_counter=False,
        )

    def callbacks(self, save_every_n_steps: int) -> list[Callback]:
        """This callback and the two checkpoints of its stage, `best.ckpt` and `last.ckpt`."""
        return [self, self.best, ResumePoint(self.folder / f"{LAST}.ckpt", save_every_n_steps)]

    def resume_point(self, warn: Callable[[str], None] = print) -> Path | None:
        """`last.ckpt` of this stage if it was interrupted, else None; the one before it if `last.ckpt` is damaged.

        Args:
            warn: called with a sentence if the one before is used.

        Raises:
            UserError: it is damaged, and there is no whole one before it.
        """
        path = self.folder / f"{LAST}.ckpt"
        if not path.is_file():
            return None
        if damage := find_damage(path):
            before = previous_of(path)
            if not before.is_file() or find_damage(before):
                raise UserError(
                    f"{path} is damaged ({damage}): delete it, and stage {self.stage.name} starts again from the "
                    "weights of the previous stage."
                )
            warn(f"{path} is damaged ({damage}): the stage continues from {before.name}, which is one save older.")
            link_or_copy(before, path)
        return path

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        agreed = trainer.strategy.broadcast(self.index, src=0)
        if agreed != self.index:
            raise RuntimeError(f"rank {trainer.global_rank} is in stage {self.index}, rank 0 in stage {agreed}")
        if self.index and trainer.ckpt_path is None:
            # From rank 0: on other machines, a shared disk may still show the old chain.json.
            before = read_chain(self.run)[self.index - 1] if trainer.is_global_zero else None
            before = trainer.strategy.broadcast(before, src=0)
            pl_module.load_state_dict(load_weights(self.run / before.checkpoint, before.sha256))

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[STAMP] = {**self.stamp, "trained_by": self.trained_by}

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        found = dict(checkpoint.get(STAMP, {}))
        before = found.pop("trained_by", [])
        if found != self.stamp:
            raise UserError(
                f"{trainer.ckpt_path} was not written by stage {self.stage.name} of this run: "
                "delete it, and the stage starts from the previous stage's weights."
            )
        self.trained_by = [*before, *(about for about in self.trained_by if about not in before)]

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.interrupted:
            return
        handoff = self._hand_on(trainer) if trainer.is_global_zero else None
        self.handoff = trainer.strategy.broadcast(handoff, src=0)

    def _hand_on(self, trainer: L.Trainer) -> Handoff:
        trainer.strategy.checkpoint_io.teardown()  # waits for checkpoints that are still being written
        previous_of(self.folder / f"{LAST}.ckpt").unlink(missing_ok=True)
        path = self.folder / f"{self.stage.carry}.ckpt"
        handoff = Handoff(
            stage=self.stage.name,
            checkpoint=path.relative_to(self.run).as_posix(),
            sha256=checkpoint_sha256(path),
            score=float(self.best.best_model_score),
            steps=trainer.global_step,
            trained_by=self.trained_by,
        )
        chain = [*read_chain(self.run)[: self.index], handoff]
        write_json(self.run / CHAIN_NAME, {"stages": [asdict(entry) for entry in chain]})
        return handoff
