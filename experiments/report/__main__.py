"""The report on Table 1 or 2 of the paper: published and measured numbers side by side, from the runs on disk.

    python -m experiments.report --table 1 --runs runs/celebdf_v2 --size full
    python -m experiments.report --table 2 --runs runs/celebdf_v2/genconvit_ed

Run it from the repository's root. It writes results.csv, table2.md and table2.html to
experiments/table2/output/<data>_<model>, and for Table 1, whose rows are different models, to
experiments/table1/output/<data>_<size>. With drawn data, every file name, title and figure says SYNTHETIC. Missing,
unfinished and failed runs are marked. Nothing is trained or scored.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd
from rich.console import Console

from deepfake_ms.cli import print_error
from deepfake_ms.errors import UserError
from experiments.report.cells import collect
from experiments.report.grids import unfinished
from experiments.report.page import write_report
from experiments.report.paper_tables import SIZES, TABLES, published_numbers
from experiments.report.protocol import check_protocol
from experiments.report.results import compute

EXPERIMENTS = Path(__file__).resolve().parents[1]


def report(options: argparse.Namespace, console: Console) -> None:
    """Collect the runs, exclude those that cannot be compared, compute the numbers and write the report.

    Raises:
        UserError: there are no runs of the table, or an argument is impossible.
    """
    if options.resamples < 100:
        raise UserError(f"--resamples {options.resamples} is too few for a 95 % interval: give at least 100.")
    table = TABLES[options.table]
    runs = options.runs.resolve()
    data = runs if table.has_several_models else runs.parent
    about = [data.name, *([] if table.has_several_models else [runs.name]), *([options.size] if options.size else [])]
    output = options.output or EXPERIMENTS / f"table{table.number}" / "output" / "_".join(about)
    published = pd.read_csv(EXPERIMENTS / "published.csv", dtype=str, keep_default_na=False)
    cells = collect(table, runs, options.sweep or data.parent / "multirun", options.seeds, options.size)
    protocol = check_protocol(table, cells, options.any_code)
    with console.status("Bootstrapping the test videos, minutes for a large test set ..."):
        results = compute(table, protocol.cells, published_numbers(table, published), options.resamples)
        paths = write_report(results, protocol, output, options.resamples)
    for sentence in [*protocol.excluded, *unfinished(results.cells)]:
        console.print(sentence)
    finished = sum(cell.complete for cell in results.cells)
    kind = ", SYNTHETIC" if results.synthetic else ""
    console.print(f"{finished} of {len(results.cells)} runs are included in the numbers{kind}.")
    console.print(f"Written: {', '.join(map(str, paths))}")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", choices=TABLES, default="2", help="of the paper (default: %(default)s)")
    parser.add_argument(
        "--runs", type=Path, required=True, help="<runs_root>/<data>/<model>, for Table 1 <runs_root>/<data>"
    )
    parser.add_argument("--size", choices=SIZES, help="only models of this size; default: any, but one per row")
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        help="seeds that every row should have; default: all that any row has or a job was to train",
    )
    parser.add_argument(
        "--sweep", type=Path, help="job records of the isolated launcher; default: <runs_root>/multirun"
    )
    parser.add_argument("--output", type=Path, help="folder; default: see above")
    parser.add_argument(
        "--resamples", type=int, default=2000, help="bootstrap samples per interval (default: %(default)s)"
    )
    parser.add_argument(
        "--any-code", action="store_true", help="compare runs of different code versions; the report says so"
    )
    try:
        report(parser.parse_args(arguments), Console(highlight=False, markup=False, soft_wrap=True))
    except UserError as error:
        print_error(error)
        sys.exit(2)


if __name__ == "__main__":
    main()
