"""The figures of the page as inline SVG: readable at the width of a phone, with real text, without external files."""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_curve

from deepfake_ms.scoring.metrics import CALIBRATION_BINS, LEVELS, TITLES, at_level
from experiments.report.cells import EXCLUDED, Cell
from experiments.report.grids import HEADLINE, measured_label, pair_title
from experiments.report.results import CHOSEN, HALF, Results

STYLE = {"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 11, "axes.spines.top": False}
STYLE |= {"axes.spines.right": False, "legend.frameon": False, "legend.fontsize": 10, "figure.dpi": 72}
COLOURS = {"frame": "#1b5e8c", "video": "#c2571a"}
SEED_LINES = ("-", "--", ":", "-.")
LONG_TITLE = 20  # characters
CURVE_POINTS = 200
"""ROC curves with more points are interpolated to this many."""


@dataclass(frozen=True)
class Picture:
    """A figure: caption and SVG element."""

    caption: str
    svg: str


def effect_pictures(results: Results, threshold: str = HALF) -> list[Picture]:
    """Per metric: the mean difference of each comparison with its interval, and a tick for each seed's difference."""
    metrics = HEADLINE if threshold == HALF else ("accuracy", "macro_f1", "balanced_accuracy")
    pairs = [(each.row, each.other) for each in results.comparisons]
    if results.table.control and threshold == CHOSEN:
        pairs.append((results.table.control, f"{results.table.control} at .5"))
    summaries = {level: results.lines("difference", level, threshold) for level in LEVELS}
    seeds = {level: results.lines("seed_difference", level, threshold) for level in LEVELS}
    drawn = [pair for pair in pairs if any((*pair, metrics[0]) in summary.index for summary in summaries.values())]
    pictures = []
    for metric in metrics if drawn else ():

        def draw(figure: Figure, metric: str = metric) -> None:
            axes = figure.add_subplot()
            axes.axvline(0, color="#777", linewidth=0.8)
            for place, pair in enumerate(reversed(drawn)):
                for level, shift in zip(LEVELS, (0.14, -0.14), strict=True):
                    if (*pair, metric) not in summaries[level].index:
                        continue
                    line = summaries[level].loc[(*pair, metric)]
                    values = seeds[level].loc[[(*pair, metric)], "mean"]
                    axes.plot([line["low"], line["high"]], [place + shift] * 2, color=COLOURS[level], linewidth=1.6)
                    axes.plot(line["mean"], place + shift, "o", color=COLOURS[level], markersize=4.5)
                    axes.plot(values, [place + shift] * len(values), "|", color=COLOURS[level], markersize=7)
            titles = [
                pair_title(results, *pair).replace(" at validation threshold − ", ":\nvalidation − ")
                for pair in reversed(drawn)
            ]
            # Long titles take two lines, which leaves room for the axis; its label may still be wider than the axis.
            broken = [title.replace(" − ", "\n− ") if len(title) > LONG_TITLE else title for title in titles]
            axes.set_yticks(range(len(drawn)), broken)
            axes.set_ylim(-0.6, len(drawn) - 0.4)
            axes.locator_params(axis="x", nbins=4)
            title = TITLES[metric]
            axes.set_xlabel(f"difference in {title if title.isupper() else title[0].lower() + title[1:]}", loc="right")
            handles = [axes.plot([], [], "o-", color=COLOURS[level], label=f"per {level}")[0] for level in LEVELS]
            figure.legend(handles=handles, loc="outside lower center", ncols=2)

        at = "threshold .5" if threshold == HALF else "each run's validation threshold"
        caption = f"{TITLES[metric]}, {at}"
        pictures.append(_picture(results, caption, draw, height=1.5 + 0.48 * len(drawn)))
    return pictures


def roc_pictures(results: Results) -> list[Picture]:
    """Per row: one ROC curve per level and seed; the positive class is fake."""

    def draw(figure: Figure, cells: Sequence[Cell]) -> None:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color="#bbb", linewidth=0.8)
        for number, cell in enumerate(cells):
            for level in LEVELS:
                units = at_level(cell.predictions, level)
                false, true, _ = roc_curve(units["label"], units["fake_probability"])
                if len(false) > CURVE_POINTS:
                    grid = np.linspace(0, 1, CURVE_POINTS)
                    false, true = grid, np.interp(grid, false, true)
                _seed_line(axes, false, true, level, number)
        axes.set(
            xlabel="false positive rate",
            ylabel="true positive rate",
            xlim=(-0.01, 1.01),
            ylim=(-0.01, 1.01),
            aspect="equal",
        )
        _legend(figure, axes, cells)

    return _per_row(results, "ROC", draw, both_classes=True)


def calibration_pictures(results: Results) -> list[Picture]:
    """Per row: share of fakes against mean P(fake) in equal bins of P(fake), one curve per level and seed."""

    def draw(figure: Figure, cells: Sequence[Cell]) -> None:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color="#bbb", linewidth=0.8)
        for number, cell in enumerate(cells):
            for level in LEVELS:
                units = at_level(cell.predictions, level)
                share, mean = calibration_curve(units["label"], units["fake_probability"], n_bins=CALIBRATION_BINS)
                _seed_line(axes, mean, share, level, number, marker=".")
        axes.set(xlabel="mean P(fake)", ylabel="share of fakes", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        _legend(figure, axes, cells)

    return _per_row(results, "Calibration", draw, both_classes=True)


def learning_pictures(results: Results) -> list[Picture]:
    """Per row: losses and validation metrics over the epochs of all stages, also of unfinished runs."""

    def draw(figure: Figure, cells: Sequence[Cell]) -> None:
        loss, score = figure.subplots(2, 1, sharex=True)
        curves = (
            (loss, "train/loss", "#777", "train loss"),
            (loss, "validation/loss", "#1b5e8c", "validation loss"),
            (score, "validation/auroc", "#1b5e8c", "validation AUROC"),
            (score, "validation/balanced_accuracy", "#c2571a", "validation balanced accuracy"),
        )
        for axes, column, colour, label in curves:
            for number, cell in enumerate(cells):
                if column in cell.curves:
                    epochs = np.arange(1, len(cell.curves) + 1)
                    style = SEED_LINES[number % len(SEED_LINES)]
                    name = "" if number else label
                    axes.plot(
                        epochs,
                        cell.curves[column],
                        style,
                        color=colour,
                        label=name,
                        linewidth=1,
                        marker=".",
                        markersize=3,
                    )
        longest = max((cell.curves["stage"] for cell in cells), key=len).reset_index(drop=True)
        for start in [place for place in longest.index if place == 0 or longest[place] != longest[place - 1]]:
            for axes in (loss, score):
                if start:
                    axes.axvline(start + 0.5, color="#333", linewidth=0.8, linestyle=(0, (4, 2)))
            name = longest[start].replace("masked_", "masked\n").replace("_", " ")
            loss.annotate(name, (start + 0.6, 1.02), xycoords=("data", "axes fraction"), fontsize=9)
        score.set(xlabel="epoch", xlim=(0.5, len(longest) + 0.5), ylim=(0, 1.02))
        score.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        for axes in (loss, score):
            axes.legend(loc="best", fontsize=9)

    return _per_row(results, "Learning curves", draw, height=4.6, finished=False)


def _per_row(
    results: Results,
    kind: str,
    draw: Callable[[Figure, Sequence[Cell]], None],
    height: float = 4.9,
    finished: bool = True,
    both_classes: bool = False,
) -> list[Picture]:
    """A picture for each row with data.

    Args:
        results: of the table.
        kind: first word of the caption.
        draw: draws the cells of a row.
        height: inches.
        finished: only complete cells; otherwise all cells with learning curves that are not excluded.
        both_classes: only cells whose test faces have both labels.
    """
    pictures = []
    for row in results.table.rows:
        cells = [
            cell
            for cell in results.cells
            if cell.experiment == row.experiment
            and (cell.complete if finished else not cell.curves.empty and not cell.status.startswith(EXCLUDED))
            and not (both_classes and cell.predictions["label"].nunique() < 2)
        ]
        if cells:
            seeds = f"seed{'s' if len(cells) > 1 else ''} {', '.join(str(cell.seed) for cell in cells)}"
            caption = f"{kind}: {row.title}, {seeds}"
            pictures.append(_picture(results, caption, lambda figure, cells=cells: draw(figure, cells), height))
    return pictures


def _seed_line(axes, x: np.ndarray, y: np.ndarray, level: str, number: int, marker: str = "") -> None:
    style = SEED_LINES[number % len(SEED_LINES)]
    axes.plot(x, y, style, marker=marker, color=COLOURS[level], linewidth=1.1)


def _legend(figure: Figure, axes, cells: Sequence[Cell]) -> None:
    handles = [axes.plot([], [], color=COLOURS[level], label=f"per {level}")[0] for level in LEVELS]
    for number, cell in enumerate(cells if len(cells) > 1 else ()):
        style = SEED_LINES[number % len(SEED_LINES)]
        handles.append(axes.plot([], [], style, color="#555", label=f"seed {cell.seed}")[0])
    figure.legend(handles=handles, loc="outside lower center", ncols=2)


def _picture(results: Results, caption: str, draw: Callable[[Figure], None], height: float) -> Picture:
    """Draw at the width of a phone (72 CSS pixels per inch), with caption and data as the title."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": caption}):
        figure = Figure(figsize=(4.6, height), layout="constrained")
        draw(figure)
        heading = f"{caption}\n{measured_label(results)}".replace("; ", ";\n")
        figure.suptitle(heading, fontsize=11, color="#a01818" if results.synthetic else "#222")
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # the same ids in every figure, but ids must be unique in a page
    label = f"{caption}. {measured_label(results)}".replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return Picture(caption, svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1))
