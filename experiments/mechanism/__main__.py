"""Do detectors rely on the eyes? AUROC on drawn fakes with and without an artefact at the eyes, for Table 2.

    python -m experiments.mechanism --runs runs/miniature_shortcut/genconvit_ed_small \\
        --corpus corpora/miniature_shortcut

Run it from the repository's root after `make reproduce-table2`. It writes mechanism_SYNTHETIC.csv and
mechanism_SYNTHETIC.md to experiments/mechanism/output. Nothing is trained or scored.
"""

import argparse
from pathlib import Path

import pandas as pd
from rich.console import Console

from deepfake_ms.errors import UserError
from deepfake_ms.files import write_atomically
from experiments.markdown import markdown_table
from experiments.mechanism.groups import GROUPS, OUTPUT, compare, read_eye_artefacts, with_interval
from experiments.program import make_parser, run_program
from experiments.report.cells import collect
from experiments.report.paper_tables import TABLE_2
from experiments.report.protocol import check_protocol, describe


def as_markdown(found: pd.DataFrame, protocol: str) -> str:
    """Two tables, rows and differences, per video, with one column per group."""
    shown = found[found["level"] == "video"].copy()
    shown["text"] = [with_interval(line) for line in shown.to_dict("records")]
    parts = [f"# SYNTHETIC: AUROC per video on drawn fakes, with and without an artefact at the eyes\n\n{protocol}\n"]
    for title, lines, index in (
        ("Rows", shown[shown["minus"] == ""], ["row"]),
        (
            "One factor at a time, paired by seed and test video",
            shown[shown["minus"] != ""],
            ["row", "minus", "factor"],
        ),
    ):
        wide = lines.pivot(index=index, columns="group", values="text").loc[
            lines[lines["group"] == GROUPS[0]].set_index(index).index, list(GROUPS)
        ]
        rows = wide.reset_index().itertuples(index=False)
        parts.append(f"## {title}\n\n{markdown_table([*index, *GROUPS], rows)}\n")
    return "\n".join(parts)


def study(options: argparse.Namespace, console: Console) -> None:
    """Compare the finished runs, write both files and print the tables.

    Raises:
        UserError: the corpus or its runs are missing.
    """
    eye_artefacts = read_eye_artefacts(options.corpus)
    runs = options.runs.resolve()
    checked = check_protocol(TABLE_2, collect(TABLE_2, runs, runs.parents[1] / "multirun"))
    found = pd.DataFrame(compare(TABLE_2, checked.cells, eye_artefacts, options.resamples))
    if found.empty:
        raise UserError(f"{runs} contains no finished run: train first, with `make reproduce-table2`.")
    about = describe(checked)
    protocol = (
        f"{about['data']} {about['fingerprint']}, test set of split {about['split']}, {about['precision']}; mean ± "
        f"standard deviation over at most {found['seeds'].max()} seeds [95 % interval over test videos]; "
        f"code: {about['code']}"
    )
    markdown = as_markdown(found, protocol)
    write_atomically(options.output / "mechanism_SYNTHETIC.csv", found.assign(**about).to_csv(index=False))
    write_atomically(options.output / "mechanism_SYNTHETIC.md", markdown)
    for sentence in checked.excluded:
        console.print(sentence)
    console.print(markdown)


def main(arguments: list[str] | None = None) -> None:
    parser = make_parser("mechanism", __doc__, OUTPUT)
    parser.add_argument("--runs", type=Path, required=True, help="<runs_root>/<data>/<model>")
    parser.add_argument("--corpus", type=Path, required=True, help="the drawn corpus of these runs")
    run_program(parser, study, arguments)


if __name__ == "__main__":
    main()
