"""Do detectors look at the eyes only? AUROC on drawn fakes with and without the eye artefact, for each row of Table 2.

    python -m experiments.mechanism.mechanism --runs runs/miniature_shortcut/genconvit_ed_small \\
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

from deepfake_ms.errors import UserError
from deepfake_ms.files import write_atomically
from deepfake_ms.labels import FAKE
from deepfake_ms.scoring.intervals import bootstrap_intervals, paired_difference
from deepfake_ms.scoring.metrics import LEVELS
from experiments.report.cells import Cell, collect
from experiments.report.paper_tables import TABLE_2, PaperTable
from experiments.report.protocol import settle_protocol

OUTPUT = Path(__file__).resolve().parent / "output"
GROUPS = ("all fakes", "fakes with the eye artefact", "fakes without it")
METRIC = "auroc"


def read_eye_artefacts(corpus: Path) -> dict[str, bool]:
    """Video id of each fake of a drawn corpus → whether its eyes carry an artefact.

    Raises:
        UserError: the folder holds no drawn corpus, or all or none of its fakes carry one.
    """
    path = corpus / "corpus.json"
    if not path.is_file():
        raise UserError(f"{path} is missing: name the folder of a drawn corpus with --corpus.")
    fakes = json.loads(path.read_text())["fakes"]
    found = {Path(name).with_suffix("").as_posix(): strengths["eyes"] > 0 for name, strengths in fakes.items()}
    if len(set(found.values())) < 2:
        raise UserError(f"{path}: the eyes tell no fakes apart; draw a corpus with data.draw.eye_share_test below 1.")
    return found


def choose_group(predictions: pd.DataFrame, eye_artefacts: Mapping[str, bool], group: str) -> pd.DataFrame:
    """The real faces and the fakes of `group` (one of `GROUPS`).

    Raises:
        UserError: a fake is none of the corpus.
    """
    if group == GROUPS[0]:
        return predictions
    fake = predictions["label"] == FAKE
    carries = predictions["video_id"].map(eye_artefacts)
    if unknown := sorted(set(predictions.loc[fake & carries.isna(), "video_id"])):
        raise UserError(f"{unknown[0]} is none of the corpus's fakes: name the corpus of these runs with --corpus.")
    return predictions[~fake | (carries == (group == GROUPS[1]))]


def compare(
    table: PaperTable, cells: list[Cell], eye_artefacts: Mapping[str, bool], resamples: int
) -> Iterator[dict[str, object]]:
    """AUROC of every row, and of one row minus another, per group and level; see `deepfake_ms.scoring.intervals`.

    Args:
        cells: after `settle_protocol`; only complete ones count.
        resamples: draws of the test videos per interval.
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
                    pair = ({seed: subset[seed] for seed in seeds} for subset in (ours, theirs))
                    summary = paired_difference(*pair, level, (METRIC,), resamples=resamples).loc[METRIC]
                    names = {"row": table.title_of(each.row), "minus": table.title_of(each.other)}
                    yield {**about, **names, "factor": each.factor, "seeds": len(seeds), **summary}


def write_markdown(found: pd.DataFrame, protocol: str) -> str:
    """Two tables: the rows, then the differences; per video, groups side by side."""
    shown = found[found["level"] == "video"].copy()
    shown["text"] = [_with_interval(line) for line in shown.to_dict("records")]
    parts = [f"# SYNTHETIC: AUROC per video on drawn fakes, by whether the eyes carry an artefact\n\n{protocol}\n"]
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
        header = [*index, *GROUPS]
        rows = [" | ".join(map(str, row)) for row in wide.reset_index().itertuples(index=False)]
        table = "\n".join(f"| {row} |" for row in [" | ".join(header), " | ".join("---" for _ in header), *rows])
        parts.append(f"## {title}\n\n{table}\n")
    return "\n".join(parts)


def _with_interval(line: Mapping) -> str:
    sign = "+" if line["minus"] else ""
    agreeing = f", {int(line['seeds_agreeing'])}/{line['seeds']} seeds" if line["minus"] else ""
    return f"{line['mean']:{sign}.3f} ± {line['sd']:.3f} [{line['low']:{sign}.3f}, {line['high']:{sign}.3f}]{agreeing}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="<runs_root>/<data>/<model>")
    parser.add_argument("--corpus", type=Path, required=True, help="the drawn corpus of these runs")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder of the results")
    parser.add_argument("--resamples", type=int, default=2000, help="bootstrap draws per interval; default 2000")
    options = parser.parse_args(arguments)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    try:
        eye_artefacts = read_eye_artefacts(options.corpus)
        runs = options.runs.resolve()
        settled = settle_protocol(TABLE_2, collect(TABLE_2, runs, runs.parents[1] / "multirun"))
        found = pd.DataFrame(compare(TABLE_2, settled.cells, eye_artefacts, options.resamples))
        if found.empty:
            raise UserError(f"{runs} holds no finished run: train first, with `make reproduce-table2`.")
    except UserError as error:
        Console(stderr=True).print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
    first = next(cell for cell in settled.cells if cell.complete)
    data, codes = first.record["config"]["data"], ", ".join(settled.code_versions)
    protocol = (
        f"{data['name']} {data['fingerprint']}, test set of split {first.record['config']['split']['policy']}; mean ± "
        f"standard deviation over {found['seeds'].max()} seeds [95 % interval over test videos]; code: {codes}"
    )
    markdown = write_markdown(found, protocol)
    table = found.assign(data=data["name"], fingerprint=data["fingerprint"], synthetic=True, code=codes)
    write_atomically(options.output / "mechanism_SYNTHETIC.csv", table.to_csv(index=False))
    write_atomically(options.output / "mechanism_SYNTHETIC.md", markdown)
    for sentence in settled.apart:
        console.print(sentence)
    console.print(markdown)


if __name__ == "__main__":
    main()
