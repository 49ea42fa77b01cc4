"""The plan of a sweep: its runs, what is finished and shared, and how long the rest may take.

    python -m experiments.sweep --experiments 'table2_*' --seeds 0,1,2 data=miniature

Further arguments are overrides of `deepfake-ms train` for every run. Nothing is trained.
"""

import argparse
import sys

from hydra.errors import HydraException
from rich.console import Console

from deepfake_ms.cli import print_error
from deepfake_ms.errors import UserError
from experiments.sweep.plan import find_experiments, plan_runs, print_plan


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.sweep", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experiments", default="table2_*", help="shell pattern (default: %(default)s)")
    parser.add_argument("--exclude", default="", help="experiments to leave out: shell patterns, separated by commas")
    parser.add_argument("--seeds", type=seeds_of, default="0,1,2", help="separated by commas (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once (default: %(default)s)")
    parser.add_argument("overrides", nargs="*", help="for every run, as for deepfake-ms train")
    options = parser.parse_args(arguments)
    try:
        experiments = find_experiments(options.experiments, options.exclude.split(","))
        runs = plan_runs(experiments, options.seeds, options.overrides)
    except (UserError, HydraException) as error:
        print_error(error)
        sys.exit(2)
    print_plan(runs, options.jobs, Console(soft_wrap=True, highlight=False))


def seeds_of(value: str) -> list[int]:
    """Seeds as Hydra's sweeps take them: ``0,1,2``."""
    try:
        return [int(seed) for seed in value.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{value} are not whole numbers separated by commas") from error


if __name__ == "__main__":
    main()
