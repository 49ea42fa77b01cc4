"""From a composed configuration to the objects it names; training and evaluation build the same from it."""

from pathlib import Path

import pandas as pd
from omegaconf import DictConfig, OmegaConf
from torch import nn

from deepfake_ms.data.datamodule import FaceDataModule
from deepfake_ms.data.face_masks import EyeMask
from deepfake_ms.data.splits import SplitPolicy
from deepfake_ms.datasets import find_corpus
from deepfake_ms.errors import UserError
from deepfake_ms.files import sha256_of
from deepfake_ms.preprocessing.prepared import describe_listing, find_prepared, read_prepared
from deepfake_ms.preprocessing.settings import PreparationSettings
from deepfake_ms.training.curriculum import Curriculum, Stage
from deepfake_ms.training.detector import Detector
from deepfake_ms.training.trainer import TrainerSettings

DECIDING_KEYS = ("split", "model", "optimization", "augmentation", "loss", "curriculum", "eye_mask", "seed")


def deciding_config(cfg: DictConfig, fingerprint: str) -> dict:
    """The part of `cfg` that decides about the numbers, in plain containers; paths and hardware are not in it.

    Micro-batches are, as part of the optimization, since BatchNorm and weighted means see less of a batch at a time. So is
    the content of the files that `model.checkpoint` names, for a path may come to hold other weights.

    Raises:
        UserError: `model.checkpoint` names no file.
    """
    chosen = OmegaConf.masked_copy(cfg, list(DECIDING_KEYS))
    config = OmegaConf.to_container(chosen, resolve=True, throw_on_missing=True)
    if cfg.trainer.micro_batches > 1:  # runs from before there was the switch keep their record
        config["optimization"]["micro_batches"] = cfg.trainer.micro_batches
    if weights := _digest_checkpoints(config["model"].get("checkpoint")):
        config["starting_weights"] = weights
    return {**config, "data": {"name": cfg.data.name, "fingerprint": fingerprint}, "precision": cfg.trainer.precision}


def _digest_checkpoints(checkpoint: str | dict[str, str | None] | None) -> dict[str, str]:
    """Path → sha256 of the file or files that a model starts from."""
    paths = checkpoint.values() if isinstance(checkpoint, dict) else [checkpoint]
    digests = {}
    for path in filter(None, paths):
        if not Path(path).is_file():
            raise UserError(f"model.checkpoint={path} is no file: download it, or set model.checkpoint=null.")
        digests[path] = sha256_of(Path(path))
    return digests


def build_preparation(cfg: DictConfig) -> PreparationSettings:
    """How videos become faces."""
    return PreparationSettings(**OmegaConf.to_container(cfg.preparation))


def locate_faces(cfg: DictConfig) -> Path:
    """The prepared folder of the corpus that `cfg.data` names.

    Raises:
        UserError: it is not prepared.
    """
    options = OmegaConf.to_container(cfg.data.options)
    return find_prepared(Path(cfg.prepared_root), cfg.data.name, Path(cfg.data.root), options, build_preparation(cfg))


def has_corpus_changed(cfg: DictConfig, prepared: Path) -> bool:
    """Whether files of the corpus have come, gone or changed size since it was prepared; False if it is not here."""
    root = Path(cfg.data.root)
    if not root.exists():
        return False
    try:
        corpus = find_corpus(cfg.data.layout, root, OmegaConf.to_container(cfg.data.options))
    except UserError:  # its videos may be gone: the faces are enough to train on
        return True
    return describe_listing(corpus) != read_prepared(prepared)["listing"]


def build_curriculum(config: DictConfig) -> Curriculum:
    """The stages of the run, with the optimization's epochs dealt out over them."""
    settings = OmegaConf.to_container(config.curriculum)
    settings.pop("name")
    optimization = config.optimization
    return Curriculum.from_shares(
        **settings, epochs=optimization.epochs, monitor=optimization.monitor, mode=optimization.mode
    )


def build_split_policy(config: DictConfig) -> SplitPolicy:
    """How faces are dealt to training, validation and test."""
    settings = OmegaConf.to_container(config.split)
    return SplitPolicy(
        policy=settings["policy"],
        fractions=tuple(settings["fractions"]),
        seed=settings["seed"],
        require_disjoint=tuple(settings["require_disjoint"]),
    )


def build_detector(config: DictConfig) -> Detector:
    """The untrained detector; torch's random state decides about its weights."""
    model = OmegaConf.to_container(config.model)
    model.pop("name")
    return Detector(
        model={"name": model.pop("architecture"), **model},
        class_weights=OmegaConf.to_container(config.loss.class_weights),
        optimizer=OmegaConf.to_container(config.optimization.optimizer),
        schedule=OmegaConf.to_container(config.optimization.schedule),
    )


def build_data(
    config: DictConfig,
    prepared: Path,
    subsets: pd.Series,
    stage: Stage,
    model: nn.Module,
    processes: int,
    num_workers: int,
) -> FaceDataModule:
    """The faces of one stage, in the size and colours that `model` expects.

    Raises:
        UserError: the batch does not divide over the processes, and there into the micro-batches.
    """
    parts = config.optimization.get("micro_batches", 1)
    if config.optimization.batch_size % (processes * parts):
        inside = f" with {parts} micro-batches each (trainer.micro_batches)" if parts > 1 else ""
        raise UserError(
            f"optimization.batch_size={config.optimization.batch_size} does not divide over {processes} processes{inside}."
        )
    return FaceDataModule(
        prepared,
        subsets,
        faces=stage.faces,
        eye_mask=EyeMask(**OmegaConf.to_container(config.eye_mask)),
        augmentation=config.augmentation.name,
        per_class=config.split.per_class,
        input_size=model.input_size,
        mean=model.mean,
        std=model.std,
        batch_size=config.optimization.batch_size // processes,
        num_workers=num_workers,
        seed=config.seed,
        stage=stage.name,
    )


def build_trainer_settings(trainer: DictConfig) -> TrainerSettings:
    """On what hardware to run."""
    settings = OmegaConf.to_container(trainer)
    settings.pop("num_workers")
    return TrainerSettings(**settings)
