"""What programs share that compute results and write them into a folder."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from deepfake_ms.cli import print_error
from deepfake_ms.errors import UserError


def make_parser(name: str, description: str, output: Path, intervals: bool = True) -> argparse.ArgumentParser:
    """A parser of ``python -m experiments.<name>`` with the options ``--output`` and, for intervals, ``--resamples``.

    Args:
        name: of the program below ``experiments``.
        description: its docstring.
        output: default folder of the results.
        intervals: whether the program computes bootstrap intervals.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m experiments.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, default=output, help="folder of the results")
    if intervals:
        parser.add_argument(
            "--resamples", type=int, default=2000, help="bootstrap samples per interval (default: %(default)s)"
        )
    return parser


def run_program(
    parser: argparse.ArgumentParser,
    task: Callable[[argparse.Namespace, Console], None],
    arguments: Sequence[str] | None,
) -> None:
    """Parse the arguments and carry out the task; a `UserError` ends the program with one sentence and status 2."""
    try:
        task(parser.parse_args(arguments), Console(highlight=False, markup=False, soft_wrap=True))
    except UserError as error:
        print_error(error)
        sys.exit(2)
