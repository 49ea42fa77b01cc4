"""The paper's Figure 2 as numbers: do detectors of Table 2 look at the eyes, do they need them, does masking change it?

    python -m experiments.figure2 --runs runs/miniature_shortcut/genconvit_ed_lite --corpus corpora/miniature_shortcut

Run it from the repository's root after `make reproduce-table2`; nothing is trained. For every stage of every run it
measures the share of Grad-CAM in each region of the face and the loss of AUROC when a region is covered, on the
unmasked test faces. With the corpus of drawn faces, where the artefacts are known, it also measures how faithful each
method of attribution is. It writes shares.csv, reliance.csv, faithfulness.csv and figure2.html to
experiments/figure2/output, with SYNTHETIC in their names for drawn faces.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from rich.console import Console

from deepfake_ms.composition import compose
from deepfake_ms.data.face_masks import FaceMask
from deepfake_ms.errors import UserError
from deepfake_ms.explanation import METHODS
from deepfake_ms.explanation.maps import TARGETS, explain_faces
from deepfake_ms.explanation.page import TextTable, write_page
from deepfake_ms.explanation.regions import FACE, PARTS
from deepfake_ms.explanation.reliance import RANDOM, occlude
from deepfake_ms.explanation.summary import Occluded, share_tables, summarise_reliance, summarise_shares
from deepfake_ms.explanation.trained import TrainedStage
from deepfake_ms.files import write_atomically
from deepfake_ms.provenance import code_version
from deepfake_ms.quiet import hush
from deepfake_ms.scoring.intervals import difference_of_differences
from deepfake_ms.training.run import Run
from experiments.figure2.faithful import measure_faithfulness, summarise_faithfulness
from experiments.markdown import estimate
from experiments.program import make_parser, run_program
from experiments.report.cells import Cell, collect
from experiments.report.figures import STYLE
from experiments.report.paper_tables import TABLE_2
from experiments.report.protocol import check_protocol, describe

OUTPUT = Path(__file__).resolve().parent / "output"
GROUPS = (
    ("table2_base", "table2_mep"),
    ("table2_wl_rf", "table2_wl_rf_mep", "table2_random_mask", "table2_mouth_mask"),
)
"""Rows that differ in the masked stages only; the first one of each group has none."""
FILLS = ("black", "blur")
COLOURS = ("#555555", "#1b5e8c", "#c2571a", "#3a7d44")


@dataclass(frozen=True)
class Detector:
    """A row of Table 2 after one of its stages."""

    experiment: str
    stage: int
    stages: int

    @property
    def name(self) -> str:
        title = TABLE_2.title_of(self.experiment)
        return title if self.stage == self.stages else f"{title}, stage {self.stage}"


Measured = dict[Detector, dict[int, object]]
"""Detector → seed → what was measured."""


def measure(
    cells: Sequence[Cell], options: argparse.Namespace, console: Console
) -> tuple[Measured, Measured, dict[int, pd.DataFrame]]:
    """Region shares and occluded predictions of every stage, and faithfulness on the fakes for the row base."""
    masks = {
        name: FaceMask.from_settings(OmegaConf.to_container(compose(f"mask={name}").mask)) for name in (*PARTS, FACE)
    }
    shares: Measured = {}
    occluded: Measured = {}
    faithful: dict[int, pd.DataFrame] = {}
    for cell in cells:
        run = Run.open(options.runs / cell.name, None, options.prepared_root)
        rows = run.rows("test")
        stages = TrainedStage.all_of(run)
        for number, stage in enumerate(stages, start=1):
            detector = Detector(cell.experiment, number, len(stages))
            console.print(f"{detector.name}, seed {cell.seed}")
            explained = explain_faces(stage, rows, options.method, masks, options.target)
            shares.setdefault(detector, {})[cell.seed] = explained.shares
            parts = {name: masks[name] for name in ("eyes", "mouth")}
            found = {tuple(key): table for *key, table in occlude(stage, rows, parts, FILLS)}
            occluded.setdefault(detector, {})[cell.seed] = found
        if cell.experiment == GROUPS[0][0]:
            console.print(f"{detector.name}, seed {cell.seed}: faithfulness")
            chosen = np.random.default_rng(0).permutation(rows)[: options.faithfulness_faces]
            measured = measure_faithfulness(stages[-1], np.sort(chosen), options.corpus)
            if len(measured):
                faithful[cell.seed] = measured
    return shares, occluded, faithful


def summarise(shares: Measured, occluded: Measured, resamples: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Region shares with differences from the row without masked stages, and reliance, of every detector.

    Returns:
        The tables of `summarise_shares` and `summarise_reliance`. The second one has two further columns: `detector`,
        and `minus`, empty or the row without masked stages; the comparison ``excess`` with `minus` is the AUROC lost
        through the region itself minus that of this row: positive if masking reduced the reliance.
    """
    by_group, lines = [], []
    for group in GROUPS:
        detectors = sorted(
            (each for each in shares if each.experiment in group),
            key=lambda each: (group.index(each.experiment), each.stage),
        )
        if not detectors or detectors[0].experiment != group[0]:
            continue
        by_group.append(summarise_shares({each.name: shares[each] for each in detectors}, resamples))
        reference = occluded[detectors[0]]
        for each in detectors:
            lines.append(summarise_reliance(occluded[each], resamples=resamples).assign(detector=each.name, minus=""))
            if each is not detectors[0]:
                gains = pd.DataFrame(_gains(occluded[each], reference, resamples))
                lines.append(gains.assign(detector=each.name, minus=detectors[0].name))
    if not by_group:
        raise UserError("No row without masked stages is finished: train table2_base or table2_wl_rf first.")
    return pd.concat(by_group, ignore_index=True), pd.concat(lines, ignore_index=True)


def _gains(ours: Mapping[int, Occluded], reference: Mapping[int, Occluded], resamples: int) -> Iterator[dict]:
    """Per region and fill: what `ours` loses in AUROC through the region itself, minus what the reference loses."""
    seeds = sorted(ours.keys() & reference.keys())
    for region, place, fill in next(iter(ours.values())):
        if place != "landmarks" or not seeds:
            continue
        pairs = [
            tuple({seed: found[seed][region, where, fill] for seed in seeds} for where in ("landmarks", RANDOM))
            for found in (ours, reference)
        ]
        about = {"measure": "auroc", "region": region, "fill": fill, "comparison": "excess"}
        yield {**about, **difference_of_differences(*pairs, metrics=("auroc",), resamples=resamples).loc["auroc"]}


def draw_figure(shares: pd.DataFrame, reliance: pd.DataFrame, fill: str) -> str:
    """Density of attribution on the eyes, and AUROC lost through covered eyes and mouth, per detector: inline SVG."""
    names = list(dict.fromkeys(reliance["detector"]))
    places = np.arange(len(names))[::-1]
    with mpl.rc_context({**STYLE, "svg.hashsalt": "figure2"}):
        figure = Figure(figsize=(9.5, 1.4 + 0.34 * len(names)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        density = shares[(shares["measure"] == "density") & (shares["minus"] == "")]
        for (view, lines), colour, shift in zip(
            density[density["region"] == "eyes"].groupby("view", sort=False), COLOURS[1:], (0.12, -0.12), strict=False
        ):
            _draw_points(left, lines.set_index("detector").reindex(names), places + shift, colour, view)
        left.axvline(1, color="#999", linewidth=0.8)
        left.set(xlabel="attribution per pixel on the eyes", yticks=places, yticklabels=names)
        auroc = reliance[reliance["measure"] == "auroc"]
        lost = auroc[(auroc["comparison"] == "excess") & (auroc["minus"] == "") & (auroc["fill"] == fill)]
        for (region, lines), colour, shift in zip(
            lost.groupby("region", sort=False), COLOURS[1:], (0.12, -0.12), strict=False
        ):
            _draw_points(right, lines.set_index("detector").reindex(names), places + shift, colour, region)
        right.axvline(0, color="#999", linewidth=0.8)
        right.set(xlabel=f"AUROC change due to the region ({fill})")
        for axes in (left, right):
            axes.legend(loc="best")
        buffer = StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :]


def _draw_points(axes, lines: pd.DataFrame, places: np.ndarray, colour: str, label: str) -> None:
    errors = ((lines["mean"] - lines["low"]).clip(0), (lines["high"] - lines["mean"]).clip(0))
    axes.errorbar(lines["mean"], places, xerr=errors, fmt="o", color=colour, label=label, markersize=4, linewidth=1.3)


def faithfulness_table(summary: pd.DataFrame) -> TextTable:
    """One row per method, one column per measure and artefact."""
    columns = list(dict.fromkeys(zip(summary["measure"], summary["artefact"], strict=True)))
    texts = summary.set_index(["method", "measure", "artefact"])
    rows = [
        [method, *(estimate(texts.loc[(method, *each)]) if (method, *each) in texts.index else "–" for each in columns)]
        for method in dict.fromkeys(summary["method"])
    ]
    header = ["method", *(f"{measure}{f', {artefact}' if artefact else ''}" for measure, artefact in columns)]
    return TextTable("Is the attribution faithful? Fakes that base detects, view image, class fake", header, rows)


def reliance_tables(reliance: pd.DataFrame) -> list[TextTable]:
    """Per region and fill: AUROC unchanged, and its change through covering, random boxes and the region itself."""
    tables = []
    auroc = reliance[reliance["measure"] == "auroc"]
    texts = auroc.set_index(["detector", "region", "fill", "comparison", "minus"])
    for region, fill in dict.fromkeys(zip(auroc["region"], auroc["fill"], strict=True)):
        if not region:
            continue
        rows = []
        for name in dict.fromkeys(auroc["detector"]):
            changes = [
                estimate(texts.loc[(name, region, fill, each, "")], signed=True)
                for each in ("covered", "random", "excess")
            ]
            gains = auroc[
                (auroc["detector"] == name)
                & (auroc["region"] == region)
                & (auroc["fill"] == fill)
                & (auroc["minus"] != "")
            ]
            gain = [
                f"{estimate(line, signed=True)} versus {line['minus']}, {int(line['seeds_agreeing'])} seeds agree"
                for line in gains.to_dict("records")
            ]
            unchanged = estimate(texts.loc[(name, "", "", "unchanged", "")])
            rows.append([name, unchanged, *changes, *(gain or ["–"])])
        header = ["detector", "AUROC on unchanged faces", "covered", "random places", "due to the region"]
        tables.append(TextTable(f"Reliance on the {region} (covered: {fill})", [*header, "effect of masking"], rows))
    return tables


def study(options: argparse.Namespace, console: Console) -> None:
    """Measure, write the files and print where they are.

    Raises:
        UserError: there are no finished runs, or their faces are missing.
    """
    options.runs = options.runs.resolve()
    rows = tuple(row for row in TABLE_2.rows if any(row.experiment in group for group in GROUPS))
    table = replace(TABLE_2, rows=rows, comparisons=())
    checked = check_protocol(table, collect(table, options.runs, options.runs.parents[1] / "multirun", options.seeds))
    for sentence in checked.excluded:
        console.print(sentence)
    cells = [cell for cell in checked.cells if cell.complete]
    if not cells:
        raise UserError(f"{options.runs} contains no finished run: train first, with `make reproduce-table2`.")
    about = describe(checked) | {"explained_by": code_version(), "attribution": options.method}
    shares, occluded, faithful = measure(cells, options, console)
    share_summary, reliance = summarise(shares, occluded, options.resamples)
    mark = "_SYNTHETIC" if about["synthetic"] else ""
    write_atomically(options.output / f"shares{mark}.csv", share_summary.assign(**about).to_csv(index=False))
    write_atomically(options.output / f"reliance{mark}.csv", reliance.assign(**about).to_csv(index=False))
    sentences = [
        f"{METHODS[options.method]} of the {options.target} class and occlusion on the unmasked test faces of "
        f"{about['data']} {about['fingerprint']}, split {about['split']}, {about['precision']}, CPU; trained by "
        f"{about['code']}, explained by {about['explained_by']}. Mean ± standard deviation over seeds [95 % interval "
        "over test videos].",
        "Shares illustrate; reliance decides: a detector needs a region if the interval of what is due to the region "
        "lies below zero. The effect of masking is that change minus the one of the row without masked stages; it is "
        "positive if masking made the detector need the region less.",
    ]
    tables = [*reliance_tables(reliance), *share_tables(share_summary)]
    if faithful:
        faithfulness = summarise_faithfulness(faithful, options.resamples)
        write_atomically(options.output / f"faithfulness{mark}.csv", faithfulness.assign(**about).to_csv(index=False))
        tables.append(faithfulness_table(faithfulness))
    else:
        console.print("Faithfulness is not measured: no finished run of base detects a fake.")
    page = options.output / f"figure2{mark}.html"
    title = "Figure 2 as numbers: where detectors look and what they need"
    figure = draw_figure(share_summary, reliance, FILLS[0])
    write_page(page, title, about["synthetic"], sentences, tables, figure=figure)
    console.print(f"Written: {page}")


def main(arguments: list[str] | None = None) -> None:
    hush()
    parser = make_parser("figure2", __doc__, OUTPUT)
    parser.add_argument("--runs", type=Path, required=True, help="<runs_root>/<data>/<model>")
    parser.add_argument("--corpus", type=Path, help="the drawn corpus of these runs, whose artefacts are known")
    parser.add_argument("--prepared-root", type=Path, default=Path("prepared"), help="default: %(default)s")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: all")
    parser.add_argument("--method", choices=METHODS, default="gradcam", help="default: %(default)s")
    parser.add_argument("--target", choices=TARGETS, default="fake", help="explained class (default: %(default)s)")
    parser.add_argument("--faithfulness-faces", type=int, default=120, help="test faces (default: %(default)s)")
    run_program(parser, study, arguments)


if __name__ == "__main__":
    main()
