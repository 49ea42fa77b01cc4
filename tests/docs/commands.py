"""The commands in the README and the documentation, and checks of them that run nothing."""

import argparse
import functools
import importlib
import importlib.util
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import hydra
import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser

from deepfake_ms.assembly import run_config
from deepfake_ms.cli import COMMANDS
from deepfake_ms.composition import CONFIG_FOLDER, complete_overrides, compose, compose_corpus
from deepfake_ms.evaluation.test_set import OWN
from deepfake_ms.launcher import isolated

REPOSITORY = Path(__file__).parents[2]
BLOCK = re.compile(r"^```bash ?(.*?)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ANY_BLOCK = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"(?<!`)`((?:deepfake-ms|make|python -m|pip) [^`]+)`")
RUNS = {"RUN": "runs/run", "BASE": "runs/base", "MEP": "runs/mep"}
"""Shell variables that the documentation uses for folders of finished runs."""
COMBINATIONS = 2
"""At most so many combinations of a sweep are composed; `tests/test_cli.py` composes every experiment."""


@dataclass(frozen=True)
class Block:
    """Commands as they are printed."""

    path: Path
    line: int
    needs: frozenset[str]
    text: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(REPOSITORY)}:{self.line}"

    def commands(self) -> Iterator[list[str]]:
        """The words of every command, without comments."""
        for line in self.text.replace("\\\n", " ").splitlines():
            words = shlex.split(re.sub(r"\$(\w+)", lambda match: RUNS[match.group(1)], line), comments=True)
            while "&&" in words:
                yield words[: words.index("&&")]
                words = words[words.index("&&") + 1 :]
            if words:
                yield words


def documents() -> list[Path]:
    """The README, the pages, and the READMEs of folders."""
    inside = [path for name in ("docs", "deepfake_ms", "experiments") for path in (REPOSITORY / name).rglob("*.md")]
    written = REPOSITORY / "docs/reference"
    return [*sorted(REPOSITORY.glob("*.md")), *sorted(path for path in inside if not path.is_relative_to(written))]


def blocks() -> list[Block]:
    """All blocks of commands."""
    found = []
    for path in documents():
        text = path.read_text()
        for match in BLOCK.finditer(text):
            line = text[: match.start()].count("\n") + 1
            found.append(Block(path, line, frozenset(match.group(1).split()), match.group(2)))
    return found


def inline_commands() -> list[tuple[str, ...]]:
    """The commands within sentences, in the order of their words."""
    found = set()
    for path in documents():
        text = ANY_BLOCK.sub("", path.read_text())
        for match in INLINE.finditer(text):
            line = re.sub(r"\$?\bRUN\b", RUNS["RUN"], match.group(1))
            found.add(tuple(shlex.split(line)))
    return sorted(found)


class Parsed(BaseException):
    """Raised in place of running a program whose arguments are valid."""


@functools.cache
def check(*words: str) -> None:
    """Check one command without running it.

    Raises:
        Exception: the program, an argument or an override is unknown.
    """
    program, *arguments = words
    if program == "make":
        check_make(arguments)
    elif program == "deepfake-ms":
        assert arguments[0] in COMMANDS, arguments[0]
        check_deepfake_ms(*arguments)
    elif program == "python" and arguments[0] == "-m":
        module, *arguments = arguments[1:]
        if module.startswith("deepfake_ms."):
            check_deepfake_ms(module.partition(".")[2], *arguments)
        elif module == "pytest":
            paths = [argument for argument in arguments if argument.startswith("tests/")]
            assert paths
            assert all((REPOSITORY / path).exists() for path in paths), paths
        else:
            assert module.startswith("experiments.")
            check_arguments(module, arguments)
    elif program == "pip":
        install, editable, target = arguments
        assert (install, editable) == ("install", "-e")
        extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert set(re.fullmatch(r"\.\[(.*)\]", target).group(1).split(",")) <= extras.keys()
    else:
        assert (program, arguments[0]) in {("wandb", "login"), ("wandb", "sync")}, words


def check_name(*words: str) -> None:
    """Check a command that is named without its arguments."""
    name = words[1] if words[0] == "deepfake-ms" else words[2]
    assert name in (*COMMANDS, "--version") or importlib.util.find_spec(name), name


def check_deepfake_ms(command: str, *arguments: str) -> None:
    """Compose the configuration, of some combinations if it is a sweep, or parse plain arguments."""
    if not (CONFIG_FOLDER / f"{command}.yaml").is_file():
        check_arguments(f"deepfake_ms.{command}", list(arguments))
        return
    overrides = [argument for argument in arguments if not argument.startswith("-") and argument != "job"]
    assert set(arguments) - set(overrides) <= {"-m", "--cfg", "job", "--help"}
    for combination in combinations(overrides) if "-m" in arguments else [overrides]:
        cfg = compose(*combination, config_name=command)
        if command == "train":
            run_config(cfg, "abc")
        if command == "evaluate":
            for named in cfg.test_sets or [cfg.test_set]:
                name = named if isinstance(named, str) else next(iter(named))
                if name not in (*OWN, "own"):
                    compose_corpus(name)


def combinations(overrides: list[str]) -> list[list[str]]:
    """Some combinations of a sweep, from the first to the last."""
    isolated.register()
    with hydra.initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        every = BasicSweeper.split_arguments(parser.parse_overrides(complete_overrides(overrides)), None)[0]
    assert len(every) > 1
    return [every[round(place * (len(every) - 1) / (COMBINATIONS - 1))] for place in range(COMBINATIONS)]


def check_arguments(module: str, arguments: list[str]) -> None:
    """Parse the arguments of a program that uses argparse."""
    parse = argparse.ArgumentParser.parse_args

    def parse_only(parser, args=None, namespace=None):
        raise Parsed(parse(parser, args, namespace))

    def start():
        if module.startswith("deepfake_ms."):
            importlib.import_module(module).main()
        else:
            runpy.run_module(module, run_name="__main__")

    stopped = mock.patch.object(argparse.ArgumentParser, "parse_args", parse_only)
    with stopped, mock.patch.object(sys, "argv", [module, *arguments]), pytest.raises(Parsed):
        start()


def check_make(arguments: list[str]) -> None:
    """Ask make what it would do, and check the commands among it."""
    done = subprocess.run(
        ["make", "-n", "VENV=/usr", *arguments], cwd=REPOSITORY, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    for line in done.stdout.replace("\\\n", " ").splitlines():
        for part in line.split(";"):
            words = shlex.split(part.partition("&&")[0], comments=True)
            if words and words[0] in ("/usr/bin/deepfake-ms", "/usr/bin/python") and words[1:2] != ["-m", "pip"]:
                program = words[0].rpartition("/")[2]
                if words[1:3] not in (["-m", "pip"], ["-m", "venv"], ["-m", "sphinx"], ["-m", "pytest"]):
                    check(program, *words[1:])
