"""AUROC on drawn fakes with and without an artefact at the eyes, per row and per pair of rows."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from deepfake_ms.errors import UserError
from deepfake_ms.labels import FAKE
from deepfake_ms.scoring.intervals import bootstrap_intervals, paired_difference
from deepfake_ms.scoring.metrics import LEVELS
from experiments.markdown import estimate
from experiments.report.cells import Cell
from experiments.report.paper_tables import PaperTable

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
    table: PaperTable, cells: Sequence[Cell], eye_artefacts: Mapping[str, bool], resamples: int
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


def with_interval(line: Mapping) -> str:
    """``+0.010 ± 0.020 [-0.005, +0.030], 2/3 seeds``: a row of `compare`, with signs if it is a difference."""
    agreeing = f", {int(line['seeds_agreeing'])}/{line['seeds']} seeds" if line["minus"] else ""
    return estimate(line, signed=bool(line["minus"])) + agreeing
