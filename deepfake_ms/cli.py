"""The frame of every entry point: Hydra composes the configuration, mistakes come back as one sentence."""

import difflib
import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hydra
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue
from rich.console import Console

from deepfake_ms.errors import UserError
from deepfake_ms.launcher import isolated
from deepfake_ms.quiet import hush

CONFIG_FOLDER = Path(__file__).resolve().parents[1] / "conf"


def entry_point(config_name: str) -> Callable[[Callable[[DictConfig], None]], Callable[[], None]]:
    """Decorator: turn a task into a main that composes ``conf/<config_name>.yaml`` with the command line's overrides.

    A `UserError` or a missing value ends the program with one sentence and status 2. In a multirun it fails its own
    job only. A key that does not exist ends it with status 1 and the nearest key that does.
    """

    def decorate(task: Callable[[DictConfig], None]) -> Callable[[], None]:
        @functools.wraps(task)
        def guarded(cfg: DictConfig) -> None:
            try:
                task(cfg)
            except (UserError, MissingMandatoryValue) as error:
                sentence = (
                    error if isinstance(error, UserError) else f"{error.full_key} is not set: add {error.full_key}=..."
                )
                if HydraConfig.get().mode == RunMode.MULTIRUN:
                    raise UserError(str(sentence)) from error
                Console(stderr=True).print(f"[bold red]error:[/] {sentence}", highlight=False, soft_wrap=True)
                sys.exit(2)

        compose_and_run = hydra.main(version_base="1.3", config_path=str(CONFIG_FOLDER), config_name=config_name)(
            guarded
        )

        def main() -> None:
            hush()
            isolated.register()
            try:
                compose_and_run()
            except SystemExit as stop:
                if stop.code == 1:
                    _name_nearest_keys(config_name, sys.argv[1:])
                raise

        return main

    return decorate


def _name_nearest_keys(config_name: str, arguments: list[str]) -> None:
    """Print, for each override whose key does not exist, the nearest key or config group that does."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        good: list[str] = []
        bad: list[str] = []
        for argument in (argument for argument in arguments if "=" in argument and not argument.startswith("-")):
            try:
                hydra.compose(config_name, overrides=[*good, argument])
                good.append(argument)
            except HydraException:
                bad.append(argument.split("=")[0].lstrip("+~"))
        known = list(_keys(hydra.compose(config_name, overrides=good)))
        loader: ConfigLoader = GlobalHydra.instance().config_loader()
        known += loader.list_groups("")
    for key in bad:
        nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        if nearest and nearest[0] != key:
            print(f"There is no key '{key}'; the nearest is '{nearest[0]}'.", file=sys.stderr)


def _keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    """Every dotted key, inner nodes included."""
    for name in node:
        yield f"{prefix}{name}"
        if OmegaConf.is_dict(node) and not OmegaConf.is_missing(node, name) and OmegaConf.is_dict(node._get_node(name)):
            yield from _keys(node._get_node(name), f"{prefix}{name}.")
