"""What all commands share: they start with a composed configuration, and user errors are printed as one sentence."""

import difflib
import errno
import functools
import gc
import io
import runpy
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import hydra
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue
from rich.console import Console
from rich.text import Text

from deepfake_ms.composition import CONFIG_FOLDER, complete_overrides, resolve_stage_choices
from deepfake_ms.errors import UserError, end_without_reader, sentence_of
from deepfake_ms.launcher import isolated
from deepfake_ms.provenance import code_version
from deepfake_ms.quiet import hush

COMMANDS = {
    "prepare": "turn a corpus of videos or images into face crops and a manifest",
    "train": "train a curriculum stage by stage, then score it on the test set",
    "evaluate": "score a finished run on its own faces or on other corpora",
    "explain": "show where a run looks and what it needs; draw contact sheets of faces",
    "predict": "score the faces in any video or image with a finished run",
    "export": "write the detector of a finished run as safetensors, ONNX and torch.export, with a model card",
    "app": "open a page on this machine that scores videos and images with a finished run",
    "scores": "write the scores of a run or of another tool as one CSV or Parquet file",
    "compare": "test the differences between the scores of several detectors",
    "doctor": "check the installation and the machine",
}

CHECKED_BY_RECEIVER = (
    *("data", "preparation", "seed", "workers", "trainer.lightning"),
    *("trainer.compile", "trainer.num_workers", "trainer.save_every_n_steps", "trainer.timeout_s"),
)
"""Keys whose values may be of several kinds, or are checked where they are used."""

RENAMED = {
    "recipe": "optimization",
    "eye_mask": "mask",
    "family": "model",
    "side": "test_set",
    "trainer.accelerator": "trainer.lightning.accelerator",
    "trainer.devices": "trainer.lightning.devices",
    "trainer.num_nodes": "trainer.lightning.num_nodes",
    "trainer.strategy": "trainer.lightning.strategy",
    "trainer.precision": "trainer.lightning.precision",
    "trainer.deterministic": "trainer.lightning.deterministic",
    "trainer.micro_batches": "trainer.lightning.accumulate_grad_batches",
}
"""Keys of earlier versions -> their new names."""


def main() -> None:
    """``deepfake-ms COMMAND ARGUMENTS``: the same as ``python -m deepfake_ms.COMMAND ARGUMENTS``; or ``--version``."""
    command = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if command == "--version":
        print(code_version())
        return
    if command not in COMMANDS:
        shown = sys.stdout if command in ("-h", "--help") else sys.stderr
        if shown is sys.stderr:
            print(f"error: there is no command {command}.", file=shown)
        print("usage: deepfake-ms COMMAND ARGUMENTS   (deepfake-ms COMMAND --help lists them)", file=shown)
        print("       deepfake-ms --version", file=shown)
        for name, purpose in COMMANDS.items():
            print(f"  {name:10}{purpose}", file=shown)
        sys.exit(0 if shown is sys.stdout else 2)
    del sys.argv[1]
    gc.disable()  # while the modules of the command are loaded, as in deepfake_ms/__init__.py
    # As a module, so that worker processes and ranks know how to start the same program.
    runpy.run_module(f"deepfake_ms.{command}", run_name="__main__", alter_sys=True)


def entry_point(config_name: str) -> Callable[[Callable[[DictConfig], None]], Callable[[], None]]:
    """Decorator: turn a task into a main that composes ``conf/<config_name>.yaml`` with the command line's overrides.

    A `UserError` or a missing value ends the program with one sentence and status 2. In a multirun it fails its own
    job only. A key that does not exist ends it with status 1 and the nearest key that does.
    """

    def decorate(task: Callable[[DictConfig], None]) -> Callable[[], None]:
        composed = False

        @functools.wraps(task)
        def guarded(cfg: DictConfig) -> None:
            nonlocal composed
            composed = True
            try:
                _refuse_other_kinds(_as_in_files(config_name), OmegaConf.to_container(cfg))
                task(resolve_stage_choices(cfg))
            except (UserError, MissingMandatoryValue, OSError) as error:
                if (sentence := _explain(error)) is None:
                    raise
                if HydraConfig.get().mode == RunMode.MULTIRUN:
                    raise UserError(sentence) from error
                print_error(sentence)
                sys.exit(2)

        compose_and_run = hydra.main(version_base="1.3", config_path=str(CONFIG_FOLDER), config_name=config_name)(
            guarded
        )

        def main() -> None:
            nonlocal composed
            composed = False
            _begin()
            isolated.register()
            _refuse_old_keys(sys.argv[1:])
            _refuse_training_data(config_name, sys.argv[1:])
            _refuse_null_groups(sys.argv[1:])
            sys.argv[1:] = complete_overrides(sys.argv[1:])
            try:
                compose_and_run()
            except KeyboardInterrupt:
                _end_interrupted()
            except SystemExit as stop:
                if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning's end after Ctrl-C
                    _end_interrupted()
                if stop.code == 1 and not composed:  # a crash of the task needs no search, which takes many seconds
                    _name_nearest_keys(config_name, sys.argv[1:])
                raise

        return main

    return decorate


def plain_entry_point(task: Callable[[], None]) -> Callable[[], None]:
    """Decorator: a main with ordinary arguments. A `UserError` ends the program with one sentence and status 2.

    Ctrl-C ends it with status 130, and the end of the program that reads its output, such as ``head``, with 141.
    """

    @functools.wraps(task)
    def main() -> None:
        _begin()
        try:
            task()
            sys.stdout.flush()
        except KeyboardInterrupt:
            print_error("interrupted.")
            sys.exit(128 + signal.SIGINT)
        except BrokenPipeError:
            end_without_reader()
        except (UserError, OSError) as error:
            if (sentence := _explain(error)) is None:
                raise
            print_error(sentence)
            sys.exit(2)

    return main


def _end_interrupted() -> None:
    print_error("interrupted: run the same command again; it continues.")
    sys.exit(128 + signal.SIGINT)


def _begin() -> None:
    """Prepare the process, once the modules of the command are loaded."""
    if not gc.isenabled():
        gc.freeze()  # the modules stay until the process ends: never search them for garbage, not even at exit
        gc.enable()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character shows a question mark
    hush()


def _as_in_files(config_name: str) -> dict[str, Any]:
    """The configuration with the chosen files and none of the command line's single values."""
    loader = GlobalHydra.instance().config_loader()
    choices = [
        override
        for override in HydraConfig.get().overrides.task
        if loader.get_group_options(OverridesParser.create().parse_override(override).key_or_group)
    ]
    return OmegaConf.to_container(hydra.compose(config_name, overrides=choices))


def _refuse_other_kinds(as_in_files: Mapping[str, Any], chosen: Mapping[str, Any], above: str = "") -> None:
    """Check that a table stays a table, a number a number, true or false one of the two, and that no text is null.

    Hydra reads ``no`` as a word, which would count as true.

    Raises:
        UserError: a value is of another kind than in the files.
    """
    for name, before in as_in_files.items():
        value, key = chosen.get(name, before), f"{above}{name}"
        if key in CHECKED_BY_RECEIVER or str(value).startswith("${"):
            continue
        if isinstance(before, dict):
            if not isinstance(value, dict):
                raise UserError(f"{key}={value}: {key} is a table of settings: set {key}.<setting>=<value>.")
            _refuse_other_kinds(before, value, f"{key}.")
        elif isinstance(before, list):
            if not isinstance(value, list):
                raise UserError(f"{key}={value}: give a list, such as {before}.")
        elif isinstance(before, bool):
            if not isinstance(value, bool):
                raise UserError(f"{key}={value}: write true or false.")
        elif isinstance(before, int | float) and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise UserError(f"{key}={value}: give a number, such as {before}.")
        elif isinstance(before, str) and value is None:
            raise UserError(f"{key}=null: set {key}=..., or leave it out.")


def _explain(error: Exception) -> str | None:
    """The sentence for an error that the user can fix; None for any other error."""
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} is not set: add {error.full_key}=..."
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            place = f"{error.filename}: " if error.filename else ""
            if error.errno == errno.EFBIG:
                return f"{place}the file is too large: raise the limit (ulimit -f); the same command continues."
            return f"{place}no space is left on the disk: free some space and run the same command again; it continues."
        if error.filename and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            return f"{error.filename} cannot be used ({error.strerror}): give a folder that you may read and write."
        return None
    return sentence_of(error)


def print_error(sentence: object) -> None:
    """Print an error on standard error; square brackets are not markup."""
    text = Text.assemble(("error: ", "bold red"), str(sentence))
    Console(stderr=True).print(text, highlight=False, soft_wrap=True)


def _refuse_old_keys(arguments: Sequence[str]) -> None:
    for argument in arguments:
        key, _, value = argument.lstrip("+~").partition("=")
        for old, new in RENAMED.items():
            if key == old or key.startswith((f"{old}.", f"{old}@")):
                print_error(f"{key} is an old name: it is now {new}{key.removeprefix(old)}.")
                sys.exit(2)
        if key == "model" and value.endswith("_small"):
            print_error(f"{argument} is an old name: it is now model={value.removesuffix('_small')} size=small.")
            sys.exit(2)


def _refuse_training_data(config_name: str, arguments: Sequence[str]) -> None:
    """Evaluation takes the name of a corpus as its test set, because the run has its training data."""
    for argument in arguments:
        key, _, value = argument.partition("=")
        if config_name == "evaluate" and key == "data" and not value.startswith("{"):
            plural = "s" if value.startswith("[") else ""
            print_error(f"{argument}: evaluate takes corpora as test_set{plural}={value}.")
            sys.exit(2)


def _refuse_null_groups(arguments: Sequence[str]) -> None:
    for argument in arguments:
        group, _, value = argument.partition("=")
        if value == "null" and (CONFIG_FOLDER / group).is_dir():
            choices = ", ".join(sorted(path.stem for path in (CONFIG_FOLDER / group).glob("*.yaml")))
            print_error(f"{argument}: leave it out, or choose one of {choices}.")
            sys.exit(2)


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
        cfg = hydra.compose(config_name, overrides=good)
        known = list(_keys(cfg))
        loader: ConfigLoader = GlobalHydra.instance().config_loader()
        known += loader.list_groups("")
    for key in bad:
        if key.startswith("curriculum.stages.") and "curriculum" in cfg:
            last = f"the last stage of curriculum={cfg.curriculum.name} is {len(cfg.curriculum.stages) - 1}"
            print(f"There is no '{key}': stages count from 0, and {last}.", file=sys.stderr)
            continue
        nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        if nearest and nearest[0] != key:
            print(f"There is no key '{key}'; the nearest is '{nearest[0]}'.", file=sys.stderr)


def _keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    """Every dotted key, inner nodes included."""
    for name in node:
        yield f"{prefix}{name}"
        if OmegaConf.is_dict(node) and not OmegaConf.is_missing(node, name) and OmegaConf.is_dict(node._get_node(name)):
            yield from _keys(node._get_node(name), f"{prefix}{name}.")


if __name__ == "__main__":
    main()
