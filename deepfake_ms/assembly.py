"""From a composed configuration to plain values and objects."""

import os
from collections.abc import Mapping
from pathlib import Path

from lightning.pytorch.utilities.rank_zero import rank_zero_only
from omegaconf import MISSING, DictConfig, OmegaConf

from deepfake_ms.data.perturbation import preparation_settings, recorded_settings
from deepfake_ms.data.prepared_faces import PreparedFaces
from deepfake_ms.data.union import UNION, Part, join_corpora
from deepfake_ms.errors import UserError
from deepfake_ms.evaluation.test_set import AUTO, TestSet
from deepfake_ms.files import sha256_of
from deepfake_ms.models.packaged_weights import packaged_weights
from deepfake_ms.preprocessing.prepared import find_prepared
from deepfake_ms.preprocessing.settings import PreparationSettings
from deepfake_ms.training.curriculum import Curriculum
from deepfake_ms.training.run import Run
from deepfake_ms.training.run_log import RunLog
from deepfake_ms.training.trainer import TrainerSettings, decisive_settings

OWN_CORPUS = "own"
"""Name of the run's own corpus in `test_sets`, to test its test videos in another preparation."""
DECISIVE_GROUPS = ("split", "model", "optimization", "augmentation", "loss", "mask", "curriculum")


def find_faces(cfg: DictConfig) -> PreparedFaces:
    """The faces in the folder `cfg.prepared`, or the prepared faces of the corpus `cfg.data`.

    Raises:
        UserError: there are none.
    """
    if cfg.get("prepared"):
        return PreparedFaces.read(Path(str(cfg.prepared)))
    settings = preparation_settings(OmegaConf.to_container(cfg.preparation))
    return _faces_of(cfg.data, settings, Path(cfg.prepared_root))


def find_test_faces(corpus: DictConfig, run: Run, preparation: DictConfig | None, prepared_root: Path) -> PreparedFaces:
    """The prepared faces of another corpus than that of a run.

    Args:
        corpus: its settings, as in ``conf/data``; its root may be missing.
        run: its own faces were prepared with the settings that count if `preparation` is None.
        preparation: a choice of ``conf/preparation``.
        prepared_root: the parent of all prepared folders.

    Raises:
        UserError: there are none; it says how to prepare them.
    """
    if preparation is not None:
        settings = preparation_settings(OmegaConf.to_container(preparation))
    else:
        settings = recorded_settings(run.faces.about["preparation"])
    return _faces_of(corpus, settings, prepared_root)


def own_corpus(run: Run) -> DictConfig:
    """The settings of the corpus that a run was trained on, as far as finding its faces needs them."""
    about = run.faces.about
    return OmegaConf.create(
        {"name": about["data_name"], "layout": OWN_CORPUS, "root": MISSING, "options": about.get("options", {})}
    )


def open_test_set(
    run: Run,
    corpus: DictConfig,
    prepared_root: Path,
    videos: str = AUTO,
    preparation: tuple[str | None, DictConfig | None] = (None, None),
    perturbation: Mapping | None = None,
) -> TestSet:
    """A corpus as a test set of a run.

    The corpus that the run was trained on gives the run's own test videos, also in another preparation. Of a corpus
    that is part of what the run was trained on, the videos that it was trained or validated on are left out.

    Args:
        run: to be tested.
        corpus: its settings, as in ``conf/data``.
        prepared_root: the parent of all prepared folders.
        videos: see `TestSet.of_corpus`.
        preparation: name, which becomes part of the test set's name, and settings of a choice of ``conf/preparation``;
            without them, the settings of the run's own faces count.
        perturbation: a choice of ``conf/perturbation``.

    Raises:
        UserError: as `find_test_faces`, `TestSet.of_run`, `TestSet.of_run_videos` and `TestSet.of_corpus`.
    """
    name, settings = preparation
    faces = find_test_faces(corpus, run, settings, prepared_root)
    if faces.manifest_sha256 == run.faces.manifest_sha256:
        return TestSet.of_run(run, "test", perturbation)
    if faces.about["data_name"] == run.config["data"]["name"]:
        return TestSet.of_run_videos(run, faces, f"test_{name or faces.about['fingerprint']}", perturbation)
    title = f"{corpus.name}_{name}" if name else str(corpus.name)
    return TestSet.of_corpus(title, faces, videos, perturbation).without_training_videos(run)


def _faces_of(corpus: DictConfig, settings: PreparationSettings, prepared_root: Path) -> PreparedFaces:
    """The prepared faces of a corpus, or of all corpora that a union joins; a missing root is no obstacle."""
    if corpus.layout == UNION:
        parts = [
            Part(str(part.name), part.layout, _faces_of(part, settings, prepared_root))
            for part in corpus.parts.values()
        ]
        return join_corpora(str(corpus.name), parts, prepared_root)
    root = None
    if not OmegaConf.is_missing(corpus, "root"):
        if not isinstance(corpus.root, str):
            raise UserError(f"data.root={corpus.root}: give the corpus's folder, or prepared=FOLDER with its faces.")
        root = Path(corpus.root)
    options = OmegaConf.to_container(corpus.options)
    return PreparedFaces.read(find_prepared(prepared_root, str(corpus.name), root, options, settings))


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
