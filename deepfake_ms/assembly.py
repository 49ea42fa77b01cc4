"""From a composed configuration to plain values and objects."""

import os
from collections.abc import Mapping
from pathlib import Path

from lightning.pytorch.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from deepfake_ms.data.perturbation import preparation_settings
from deepfake_ms.data.prepared_faces import PreparedFaces
from deepfake_ms.errors import UserError
from deepfake_ms.files import sha256_of
from deepfake_ms.models.packaged_weights import packaged_weights
from deepfake_ms.preprocessing.prepared import find_prepared
from deepfake_ms.training.curriculum import Curriculum
from deepfake_ms.training.run import Run
from deepfake_ms.training.run_log import RunLog
from deepfake_ms.training.trainer import TrainerSettings, decisive_settings

DECISIVE_GROUPS = ("split", "model", "optimization", "augmentation", "loss", "mask", "curriculum")


def find_faces(cfg: DictConfig) -> PreparedFaces:
    """The faces in the folder `cfg.prepared`, or the prepared faces of the corpus `cfg.data`.

    Raises:
        UserError: there are none.
    """
    if cfg.get("prepared"):
        return PreparedFaces.read(Path(str(cfg.prepared)))
    if not isinstance(cfg.data.root, str):
        raise UserError(f"data.root={cfg.data.root}: give the corpus's folder, or prepared=FOLDER with its faces.")
    folder = find_prepared(
        Path(cfg.prepared_root),
        str(cfg.data.name),
        Path(cfg.data.root),
        OmegaConf.to_container(cfg.data.options),
        preparation_settings(OmegaConf.to_container(cfg.preparation)),
    )
    return PreparedFaces.read(folder)


def trainer_settings(cfg: DictConfig) -> TrainerSettings:
    """The trainer settings in `cfg.trainer`.

    Raises:
        UserError: a setting is unknown or impossible here.
    """
    return TrainerSettings(**OmegaConf.to_container(cfg.trainer))


def open_run_log(cfg: DictConfig, run: Run, trainer: TrainerSettings) -> RunLog:
    """The log chosen by `cfg.logger`; `RunLog`, which logs nothing, on ranks other than 0 or if W&B is disabled.

    Raises:
        UserError: an online log is requested without a login.
    """
    disabled = "disabled" in os.environ.get("WANDB_MODE", "") or os.environ.get("WANDB_DISABLED", "false") != "false"
    if not cfg.logger.wandb or disabled or rank_zero_only.rank != 0:
        return RunLog()
    from deepfake_ms.training.wandb_run import WandbRun, describe_hardware  # takes half a second to import

    logger = OmegaConf.to_container(cfg.logger, resolve=True)
    return WandbRun(run.folder, logger, run.record, describe_hardware(trainer.lightning))


def run_config(cfg: DictConfig, fingerprint: str) -> dict:
    """The settings that determine a run's results, in plain containers; changing one makes it a different run.

    Paths and hardware are excluded, except for the number of parts that a batch is divided into. All settings of each
    stage are included, and the sha256 of the files in `model.checkpoint` and of weights in an installed package: their
    content may change.

    Args:
        cfg: of ``conf/train.yaml``.
        fingerprint: of the prepared faces.

    Raises:
        UserError: a stage has an unknown setting, `seed` is not a whole number, `model.checkpoint` names no file, or
            gradients are to be clipped in two ways.
    """
    if not isinstance(cfg.seed, int):
        raise UserError(f"seed={cfg.seed}: give a whole number.")
    chosen = OmegaConf.masked_copy(cfg, [*DECISIVE_GROUPS, "seed"])
    config = OmegaConf.to_container(chosen, resolve=True, throw_on_missing=True)
    curriculum = Curriculum.resolve(config)
    config["curriculum"]["stages"] = curriculum.as_records()
    if weights := _digest_checkpoints(config["model"].get("checkpoint")) | _digest_package(config["model"]):
        config["starting_weights"] = weights
    trainer = OmegaConf.to_container(cfg.trainer, resolve=True)
    if "gradient_clip_val" in trainer["lightning"] and any(stage.clipping for stage in curriculum.stages):
        raise UserError(
            "trainer.lightning.gradient_clip_val and optimization.gradient_clip are both set: set only one of them."
        )
    return {
        **config,
        "data": {"name": str(cfg.data.name), "fingerprint": fingerprint},
        "trainer": decisive_settings(trainer),
    }


def _digest_package(model: Mapping) -> dict[str, str]:
    """Installed package -> sha256 of its pretrained weights, if the model's backbone starts from them."""
    weights = packaged_weights(model.get("backbone", "")) if model.get("pretrained") else None
    return {weights.package: weights.sha256} if weights else {}


def _digest_checkpoints(checkpoint: str | Mapping[str, str | None] | None) -> dict[str, str]:
    """Path -> sha256 of the checkpoints in `model.checkpoint`."""
    paths = checkpoint.values() if isinstance(checkpoint, Mapping) else [checkpoint]
    digests = {}
    for path in filter(None, paths):
        if not isinstance(path, str) or not Path(path).is_file():
            raise UserError(f"model.checkpoint={path} is not a file: download it, or set model.checkpoint=null.")
        digests[path] = sha256_of(Path(path))
    return digests
