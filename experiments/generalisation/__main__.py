"""Does it hold elsewhere? Detectors of Table 2 on other corpora and on degraded faces.

    python -m experiments.generalisation --runs runs/miniature_shortcut/genconvit_ed_lite

Run it from the repository's root; `make generalisation` prepares the corpora and trains what is missing first. Nothing
is trained here. Every finished run of the chosen rows is scored on all test sets of a suite and, on its own test set,
under every perturbation; predictions stay in the folders of the runs, so that a stopped program goes on where it was.
It writes matrix.csv, operating_points.csv, groups.csv, robustness.csv, cards.csv and generalisation.html to
experiments/generalisation/output; drawn faces add SYNTHETIC to their names.
"""

import argparse
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from rich.console import Console

from deepfake_ms.assembly import trainer_settings
from deepfake_ms.composition import compose
from deepfake_ms.errors import UserError
from deepfake_ms.explanation.page import write_page
from deepfake_ms.files import write_atomically
from deepfake_ms.provenance import code_version
from deepfake_ms.quiet import hush
from experiments.generalisation.matrix import (
    Detector,
    list_cards,
    score_detectors,
    summarise_groups,
    summarise_operating_points,
    summarise_scores,
)
from experiments.generalisation.page import Findings
from experiments.generalisation.robustness import perturb_detectors, summarise_drops
from experiments.program import make_parser, run_program
from experiments.report.cells import Cell, collect
from experiments.report.figures import STYLE
from experiments.report.paper_tables import TABLE_2
from experiments.report.protocol import check_protocol, describe

OUTPUT = Path(__file__).resolve().parent / "output"
ROWS = ("table2_base", "table2_na", "table2_rf", "table2_mep", "table2_rf_mep")
PERTURBATIONS = (
    *("deeperforensics_colour_noise", "deeperforensics_blur", "deeperforensics_pixelation"),
    *("h264", "jpeg", "brightness"),
)
LEVELS = (1, 3, 5)


def find_cells(options: argparse.Namespace, console: Console) -> tuple[dict, dict, list[dict]]:
    """Complete runs and their folder per detector, and the protocol of each folder."""
    table = replace(TABLE_2, rows=tuple(TABLE_2.row(name) for name in options.rows), comparisons=())
    cells: dict[Detector, list[Cell]] = {}
    folders, protocols = {}, []
    for runs in map(Path.resolve, options.runs):
        checked = check_protocol(table, collect(table, runs, runs.parents[1] / "multirun", options.seeds))
        for sentence in checked.excluded:
            console.print(sentence)
        complete = [cell for cell in checked.cells if cell.complete]
        if not complete:
            raise UserError(f"{runs} contains no finished run of {', '.join(options.rows)}: train first.")
        protocols.append(describe(checked))
        for cell in complete:
            detector = Detector(cell.record["config"]["data"]["name"], cell.experiment)
            if folders.setdefault(detector, runs) != runs:
                raise UserError(
                    f"{runs} and {folders[detector]} both contain {detector.name}: give the folders of one model."
                )
            cells.setdefault(detector, []).append(cell)
    return cells, folders, protocols


def study(options: argparse.Namespace, console: Console) -> None:
    """Score, summarise, write the files and print where they are.

    Raises:
        UserError: there are no finished runs, or the faces of a test set are not prepared.
    """
    cells, runs, protocols = find_cells(options, console)
    place = f"prepared_root='{options.prepared_root}'"
    suite = compose(f"suite={options.suite}", "run=.", place, config_name="evaluate")
    settings = trainer_settings(suite)
    preparation = options.suite if suite.get("preparation") is not None else None
    tested = score_detectors(cells, runs, suite, preparation, settings, console)
    chosen = options.perturbations, options.levels
    perturbed = perturb_detectors(cells, runs, *chosen, options.prepared_root, settings, console)
    found = Findings(
        matrix=summarise_scores(tested, options.resamples),
        operating_points=summarise_operating_points(tested),
        groups=summarise_groups(tested, options.resamples),
        robustness=summarise_drops(perturbed, cells, options.resamples),
        cards=pd.DataFrame(list_cards(tested)),
    )
    synthetic = any(each["synthetic"] for each in protocols)
    code = ", ".join(sorted({each["code"] for each in protocols}))
    about = {"synthetic": synthetic, "suite": options.suite, "trained_by": code, "scored_by": code_version()}
    mark = "_SYNTHETIC" if synthetic else ""
    for each in fields(found):
        table = getattr(found, each.name).assign(**about)
        write_atomically(options.output / f"{each.name}{mark}.csv", table.to_csv(index=False))
    trained = "; ".join(f"{each['data']} {each['fingerprint']}, split {each['split']}" for each in protocols)
    sentences = [
        f"Trained on {trained}; suite {options.suite}; CPU, 32-bit; trained by {code}, scored by {about['scored_by']}. "
        "Mean ± standard deviation over seeds [95 % interval over test videos]; for differences also the number of "
        "seeds that agree with the sign.",
        "A detector's threshold is that of its own validation set. What the best threshold of a test set would give is "
        "shown beside it; that threshold is unknown in practice.",
    ]
    with mpl.rc_context({**STYLE, "svg.hashsalt": "generalisation"}):
        figure = "".join(found.pictures())
    page = options.output / f"generalisation{mark}.html"
    title = "Does it hold elsewhere: other corpora and degraded faces"
    write_page(page, title, synthetic, sentences, list(found.tables()), figure=figure)
    console.print(f"Written: {page}")


def main(arguments: Sequence[str] | None = None) -> None:
    hush()
    parser = make_parser("generalisation", __doc__, OUTPUT)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="<runs_root>/<data>/<model>, one or more")
    parser.add_argument("--rows", nargs="+", default=ROWS, help="rows of Table 2 (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: all")
    parser.add_argument("--suite", default="miniature_shifts", help="a file in conf/suite (default: %(default)s)")
    parser.add_argument("--perturbations", nargs="*", default=PERTURBATIONS, help="default: %(default)s")
    parser.add_argument("--levels", type=int, nargs="+", default=LEVELS, help="1 to 5 (default: %(default)s)")
    parser.add_argument("--prepared-root", type=Path, default=Path("prepared"), help="default: %(default)s")
    run_program(parser, study, arguments)


if __name__ == "__main__":
    main()
