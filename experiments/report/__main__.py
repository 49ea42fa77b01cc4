"""Published and measured numbers of a table of the paper, side by side, from finished and unfinished runs.

    python -m experiments.report --table 1 --runs runs/celebdf_v2 --size full
    python -m experiments.report --table 2 --runs runs/celebdf_v2/genconvit_ed

Run it from the repository's root. It writes results.csv, table2.md and table2.html to
experiments/table2/output/<data>_<model> (Table 1, whose rows are different models: experiments/table1/output/
<data>_<size>). If the data are drawn, every file name, title and figure says SYNTHETIC. Cells that are missing,
unfinished or failed are marked. Nothing is trained or scored.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd
from rich.console import Console

from deepfake_ms.errors import UserError
from experiments.report.cells import collect
from experiments.report.grids import unfinished
from experiments.report.page import write_report
from experiments.report.paper_tables import TABLES, published_numbers
from experiments.report.protocol import settle_protocol
from experiments.report.results import compute

EXPERIMENTS = Path(__file__).resolve().parents[1]


def report(options: argparse.Namespace, console: Console) -> None:
    """Collect, settle what may stand in one table, compute, write.

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
    protocol = settle_protocol(table, cells, options.any_code)
    with console.status("Drawing test videos, minutes for a large test set ..."):
        results = compute(table, protocol.cells, published_numbers(table, published), options.resamples)
        paths = write_report(results, protocol, output, options.resamples)
    for sentence in [*protocol.apart, *unfinished(results.cells)]:
        console.print(sentence)
    finished = sum(cell.complete for cell in results.cells)
    console.print(f"{finished} of {len(results.cells)} runs are in the numbers{', SYNTHETIC' * results.synthetic}.")
    console.print(f"Written: {', '.join(map(str, paths))}")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", choices=TABLES, default="2", help="of the paper")
    parser.add_argument(
        "--runs", type=Path, required=True, help="<runs_root>/<data>/<model>, of Table 1 <runs_root>/<data>"
    )
    parser.add_argument("--size", choices=("small", "full"), help="only models of this size; default any, but not both")
    parser.add_argument(
        "--seeds", type=int, nargs="+", help="that every row should have; default: all that any row has"
    )
    parser.add_argument("--sweep", type=Path, help="the isolated launcher's job records; default <runs_root>/multirun")
    parser.add_argument("--output", type=Path, help="folder; default: see above")
    parser.add_argument("--resamples", type=int, default=2000, help="bootstrap draws per interval; default 2000")
    parser.add_argument(
        "--any-code", action="store_true", help="let runs of different code stand in one table; the report says so"
    )
    try:
        report(parser.parse_args(arguments), Console(highlight=False, markup=False, soft_wrap=True))
    except UserError as error:
        Console(stderr=True).print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
