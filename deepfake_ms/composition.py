"""From overrides, as on the command line, to a composed configuration."""

import difflib
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.resources import files
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict

from deepfake_ms.errors import UserError

_CHECKOUT = Path(__file__).resolve().parents[1] / "conf"
CONFIG_FOLDER = _CHECKOUT if _CHECKOUT.is_dir() else Path(str(files("deepfake_ms"))) / "conf"
"""The configuration files: of the checkout, or those that were installed with the package."""

STAGE_GROUPS = ("mask", "augmentation", "loss", "optimization")
"""Config groups that a stage of a curriculum can name a choice of."""

OPEN = (
    "data.options.",
    "curriculum.stages.",
    "trainer.lightning.",
    "optimization.optimizer.",
    "optimization.schedule.",
    "augmentation.transforms.",
)
"""Keys below which overrides may add keys that the files lack; the code that receives them rejects unknown ones."""

WHOLE = ("optimization.optimizer", "optimization.schedule")
"""Mappings that an override ``{...}`` replaces whole; Hydra would merge it with the arguments of the old name."""


def compose(*overrides: str, config_name: str = "train") -> DictConfig:
    """The configuration that a command composes from these overrides, for programs that inspect configurations.

    Raises:
        HydraException: an override is impossible.
        UserError: a stage names an unknown choice.
    """
    with hydra.initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        return resolve_stage_choices(hydra.compose(config_name, overrides=complete_overrides(overrides)))


def compose_corpus(name: str, changes: Mapping[str, Any] | None = None) -> DictConfig:
    """The settings of a corpus in a file of ``conf/data``.

    Args:
        name: of the file.
        changes: other values of `name`, `root` and `options`; those that are null or empty change nothing.

    Raises:
        UserError: there is no such file; the nearest name is given.
    """
    with _within_hydra():
        known = GlobalHydra.instance().config_loader().get_group_options("data")
        if name == "union":
            raise UserError("test_set=union: name the corpora one by one, in test_sets=[...].")
        if name not in known:
            name = str(name)
            nearest = difflib.get_close_matches(name, known, n=1)
            hint = f"the nearest is {nearest[0]}" if nearest else f"choose from {', '.join(known)}"
            raise UserError(f"There is no test set {name}: {hint}; test and validation are the run's own faces.")
        corpus = hydra.compose("prepare", overrides=[f"data={name}"]).data
    changes = {key: value for key, value in (changes or {}).items() if value}
    if unknown := changes.get("options", {}).keys() - corpus.options.keys():
        options = f"it has {', '.join(corpus.options)}" if corpus.options else "it has none"
        raise UserError(f"data.options: {name} has no option {', '.join(sorted(unknown))}; {options}.")
    return OmegaConf.merge(corpus, changes)


def _within_hydra() -> AbstractContextManager:
    """Hydra as the running command has started it, or started for this package's own files."""
    if GlobalHydra.instance().is_initialized():
        return nullcontext()
    return hydra.initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3")


def complete_overrides(arguments: Sequence[str]) -> list[str]:
    """The arguments in the form that Hydra needs.

    ``data=[a,b]`` joins two corpora, ``++`` is put before keys that may be added (`OPEN`), mappings in `WHOLE` are
    replaced whole, values that Hydra cannot parse, such as those with parentheses or umlauts, are quoted, and ``~/``
    becomes the home folder, which the shell does not replace after an equals sign.
    """
    completed = []
    for argument in map(_quote, arguments):
        key, _, value = argument.partition("=")
        if key == "data" and value.startswith("["):
            completed += _join(value)
        elif key in WHOLE and value.lstrip().startswith("{"):
            completed += [f"~{key}", f"+{argument}"]
        else:
            completed.append(f"++{argument}" if key.startswith(OPEN) and value else argument)
    return completed


def _join(corpora: str) -> list[str]:
    """The overrides for ``data=[a,b]``: a corpus that joins the corpora a and b, named after both, e.g. ``a_c23+b``."""
    names = list(dict.fromkeys(name.strip() for name in corpora.strip("[]").split(",") if name.strip()))
    parts = [f"+data@data.parts.{name}={name}" for name in names]
    joined = "+".join(f"${{data.parts.{name}.name}}" for name in names)
    return ["data=union", f"data.name='{joined}'", *parts]


def _quote(argument: str) -> str:
    key, _, value = argument.partition("=")
    if value.startswith("~/"):
        value = os.path.expanduser(value)  # noqa: PTH111 Path would raise where there is no home
        argument = f"{key}={value}"
    if not value or value.startswith(("'", '"', "[", "{")):
        return argument
    try:
        OverridesParser.create().parse_override(argument)
    except HydraException:
        escaped = value.replace("'", r"\'")
        return f"{key}='{escaped}'"
    return argument


def load_choice(group: str, choice: str, key: str) -> DictConfig:
    """The settings of a choice of a config group, such as ``conf/mask/eyes.yaml``.

    Args:
        group: the config group.
        choice: name of the file.
        key: that names the choice, for the error.

    Raises:
        UserError: there is no such choice.
    """
    try:
        with _within_hydra():
            return hydra.compose(overrides=[f"+{group}={choice}"])[group]
    except HydraException as error:
        raise UserError(f"{key}={choice}: there is no conf/{group}/{choice}.yaml.") from error


def resolve_stage_choices(cfg: DictConfig) -> DictConfig:
    """Replace, in the stages of a curriculum, the name of a choice (``augmentation: none``) by its settings.

    Raises:
        UserError: there is no such choice.
    """
    stages = cfg.curriculum.stages if "curriculum" in cfg else []
    for position, stage in enumerate(stages):
        for group in STAGE_GROUPS:
            if OmegaConf.is_dict(stage) and isinstance(choice := stage.get(group), str):
                chosen = load_choice(group, choice, f"curriculum.stages.{position}.{group}")
                with open_dict(stage):
                    # A stage's epochs follow from its share, and all stages are judged by the same metric.
                    stage[group] = {
                        key: value for key, value in chosen.items() if key not in ("epochs", "monitor", "mode")
                    }
    return cfg
