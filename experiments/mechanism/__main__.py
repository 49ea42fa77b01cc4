"""Do detectors rely on the eyes? AUROC on drawn fakes with and without an artefact at the eyes, for Table 2.

    python -m experiments.mechanism --runs runs/miniature_shortcut/genconvit_ed_small \\
        --corpus corpora/miniature_shortcut

Run it from the repository's root after `make reproduce-table2`. It writes mechanism_SYNTHETIC.csv and
mechanism_SYNTHETIC.md to experiments/mechanism/output. Nothing is trained or scored.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd
from rich.console import Console

from deepfake_ms.cli import print_error
from deepfake_ms.errors import UserError
from deepfake_ms.files import write_atomically
from deepfake_ms.labels import FAKE
from deepfake_ms.scoring.intervals import bootstrap_intervals, paired_difference
from deepfake_ms.scoring.metrics import LEVELS
from experiments.markdown import markdown_table
from experiments.report.cells import Cell, collect
from experiments.report.paper_tables import TABLE_2, PaperTable
from experiments.report.protocol import check_protocol

OUTPUT = Path(__file__).resolve().parent / "output"
GROUPS = ("all fakes", "fakes with the eye artefact", "fakes without it")
METRIC = "auroc"


def read_eye_artefacts(corpus: Path) -> dict[str, bool]:
    """Video id of each fake of a drawn corpus → whether its eyes have an artefact.

    Raises:
        UserError: the folder is not a drawn corpus, or all or none of its fakes have the artefact.
    """
    path = corpus / "corpus.json"
    if not path.is_file():
        raise UserError(f"{path} is missing: give the folder of a drawn corpus with --corpus.")
    fakes = json.loads(path.read_text())["fakes"]
    found = {Path(name).with_suffix("").as_posix(): strengths["eyes"] > 0 for name, strengths in fakes.items()}
    if len(set(found.values())) < 2:
        raise UserError(
            f"{path}: all or none of the fakes have an artefact at the eyes; draw a corpus with "
            "data.draw.eye_share_test below 1."
        )
    return found


def choose_group(predictions: pd.DataFrame, eye_artefacts: Mapping[str, bool], group: str) -> pd.DataFrame:
    """The predictions of all real faces and of the fakes in `group` (one of `GROUPS`).

    Raises:
        UserError: a fake is not in the corpus.
    """
    if group == GROUPS[0]:
        return predictions
    fake = predictions["label"] == FAKE
    has_artefact = predictions["video_id"].map(eye_artefacts)
    if unknown := sorted(set(predictions.loc[fake & has_artefact.isna(), "video_id"])):
        raise UserError(f"The corpus has no fake {unknown[0]}: give the corpus of these runs with --corpus.")
    return predictions[~fake | (has_artefact == (group == GROUPS[1]))]


def compare(
    table: PaperTable, cells: list[Cell], eye_artefacts: Mapping[str, bool], resamples: int
) -> Iterator[dict[str, object]]:
    """AUROC of every row and of every comparison, per group and level; see `deepfake_ms.scoring.intervals`.

    Args:
        table: rows and comparisons.
        cells: after `check_protocol`; only complete ones are used.
        eye_artefacts: from `read_eye_artefacts`.
        resamples: bootstrap samples of the test videos per interval.
    """
    scored: dict[str, dict[int, pd.DataFrame]] = {}
    for cell in cells:
        if cell.complete:
            scored.setdefault(cell.experiment, {})[cell.seed] = cell.predictions
    for group in GROUPS:
        chosen = {
            experiment: {seed: choose_group(each, eye_artefacts, group) for seed, each in seeds.items()}
            for experiment, seeds in scored.items()
        }
        for level in LEVELS:
            about = {"group": group, "level": level}
            for row in table.rows:
                if seeds := chosen.get(row.experiment):
                    summary = bootstrap_intervals(seeds, level, (METRIC,), resamples=resamples).loc[METRIC]
                    yield {**about, "row": row.title, "minus": "", "factor": "", "seeds": len(seeds), **summary}
            for each in table.comparisons:
                ours, theirs = (chosen.get(name, {}) for name in (each.row, each.other))
                if seeds := sorted(ours.keys() & theirs.keys()):
                    pair = ({seed: predictions[seed] for seed in seeds} for predictions in (ours, theirs))
                    summary = paired_difference(*pair, level, (METRIC,), resamples=resamples).loc[METRIC]
                    names = {"row": table.title_of(each.row), "minus": table.title_of(each.other)}
                    yield {**about, **names, "factor": each.factor, "seeds": len(seeds), **summary}


def as_markdown(found: pd.DataFrame, protocol: str) -> str:
    """Two tables, rows and differences, per video, with one column per group."""
    shown = found[found["level"] == "video"].copy()
    shown["text"] = [_with_interval(line) for line in shown.to_dict("records")]
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


def _with_interval(line: Mapping) -> str:
    sign = "+" if line["minus"] else ""
    agreeing = f", {int(line['seeds_agreeing'])}/{line['seeds']} seeds" if line["minus"] else ""
    spread = "" if pd.isna(line["sd"]) else f" ± {line['sd']:.3f}"
    return f"{line['mean']:{sign}.3f}{spread} [{line['low']:{sign}.3f}, {line['high']:{sign}.3f}]{agreeing}"


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
    config = next(cell for cell in checked.cells if cell.complete).record["config"]
    data, codes = config["data"], ", ".join(checked.code_versions)
    protocol = (
        f"{data['name']} {data['fingerprint']}, test set of split {config['split']['policy']}; mean ± standard "
        f"deviation over at most {found['seeds'].max()} seeds [95 % interval over test videos]; code: {codes}"
    )
    markdown = as_markdown(found, protocol)
    table = found.assign(data=data["name"], fingerprint=data["fingerprint"], synthetic=True, code=codes)
    write_atomically(options.output / "mechanism_SYNTHETIC.csv", table.to_csv(index=False))
    write_atomically(options.output / "mechanism_SYNTHETIC.md", markdown)
    for sentence in checked.excluded:
        console.print(sentence)
    console.print(markdown)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.mechanism",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=Path, required=True, help="<runs_root>/<data>/<model>")
    parser.add_argument("--corpus", type=Path, required=True, help="the drawn corpus of these runs")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder of the results")
    parser.add_argument(
        "--resamples", type=int, default=2000, help="bootstrap samples per interval (default: %(default)s)"
    )
    try:
        study(parser.parse_args(arguments), Console(highlight=False, markup=False, soft_wrap=True))
    except UserError as error:
        print_error(error)
        sys.exit(2)


if __name__ == "__main__":
    main()
