"""The page: matrix and curves as figures; scores, operating points, groups, drops and protocol cards as tables."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from deepfake_ms.evaluation.protocol_card import FIELDS, differences
from deepfake_ms.explanation.page import TextTable
from experiments.markdown import estimate

PUBLISHED = Path(__file__).parent / "published.csv"
"""Published AUROCs with the parts of their protocol cards that their sources state."""
WORST = 20
"""Groups on the page; groups.csv has all."""
COLOURS = ("#555555", "#1b5e8c", "#c2571a", "#3a7d44", "#8a4f9e", "#b8860b")


@dataclass(frozen=True)
class Findings:
    """The tables of the study, one row per line of their CSV files; see `matrix` and `robustness`."""

    matrix: pd.DataFrame
    operating_points: pd.DataFrame
    groups: pd.DataFrame
    robustness: pd.DataFrame
    cards: pd.DataFrame

    def tables(self) -> Iterator[TextTable]:
        """All tables in the order of the page."""
        for level in ("video", "frame"):
            yield from self._matrix_tables(level)
        yield self._operating_points_table()
        yield self._groups_table()
        if len(self.robustness):
            yield self._drops_table()
        if published := list(self._published_rows()):
            header = [
                "detector",
                "test set",
                "level",
                "published AUROC",
                "source",
                "what differs from the numbers here",
            ]
            yield TextTable("Published, not measured here", header, published)
        header = ["detector", "test set", *FIELDS.values()]
        yield TextTable("Protocol cards", header, self.cards[["detector", "test_set", *FIELDS]].to_numpy().tolist())

    def _published_rows(self) -> Iterator[list[str]]:
        """Published numbers on the same test sets, with what differs in protocol; none beside drawn faces."""
        ours = self.cards.drop_duplicates("test_set").set_index("test_set")
        for line in pd.read_csv(PUBLISHED, dtype=str, keep_default_na=False).to_dict("records"):
            if line["test_set"] in ours.index:
                differing = differences(ours.loc[line["test_set"]].to_dict(), {**line, "level": ""})
                texts = [line[name] for name in ("detector", "test_set", "level", "auroc", "source")]
                yield [*texts, "; ".join(differing) or "nothing"]

    def pictures(self) -> list[str]:
        """The figures as SVG elements."""
        figures = [self._draw_matrix(), *([self._draw_curves()] if len(self.robustness) else [])]
        return [_as_svg(figure) for figure in figures]

    def _matrix_tables(self, level: str) -> Iterator[TextTable]:
        of_level = self.matrix[self.matrix["level"] == level]
        plain, differences = of_level[of_level["minus"] == ""], of_level[of_level["minus"] != ""]
        yield _pivot(f"AUROC per {level}", plain, lambda line: estimate(line))
        if len(differences):
            title = f"Difference from the first detector of the same training data, per {level}"
            yield _pivot(
                title,
                differences,
                lambda line: f"{estimate(line, signed=True)}, {int(line['seeds_agreeing'])}/{int(line['seeds'])}",
            )

    def _operating_points_table(self) -> TextTable:
        columns = {
            "real_error": "FPR",
            "fake_error": "FNR",
            "balanced_accuracy": "balanced accuracy",
            "oracle_balanced_accuracy": "at the best threshold here",
            "calibration_error": "ECE",
            "calibration_error_scaled": "ECE, temperature scaled",
            "coverage": "coverage",
            "near_duplicates": "near-duplicates of training faces",
        }
        rows = [
            [line["detector"], line["test_set"], *(_number(line[name], name) for name in columns)]
            for line in self.operating_points.to_dict("records")
        ]
        title = "Operating points per video: thresholds of the runs' own validation sets"
        return TextTable(title, ["detector", "test set", *columns.values()], rows)

    def _groups_table(self) -> TextTable:
        worst = self.groups.head(WORST)
        rows = [
            [line["detector"], line["test_set"], f"{line['by']}: {line['group']}", str(line["fakes"]), auroc]
            for line, auroc in zip(
                worst.to_dict("records"),
                map(estimate, worst.rename(columns={"auroc": "mean"}).to_dict("records")),
                strict=True,
            )
        ]
        header = ["detector", "test set", "group of fakes", "videos", "AUROC against all real videos"]
        return TextTable(f"The {len(rows)} groups of fakes that are found worst", header, rows)

    def _drops_table(self) -> TextTable:
        changes = self.robustness[self.robustness["minus"] != ""]
        levels = sorted(changes["level"].unique())
        rows = []
        for (name, perturbation), lines in changes.groupby(["detector", "perturbation"], sort=False):
            by_level = lines.set_index("level").reindex(levels)
            texts = [estimate(line, signed=True) for line in by_level.to_dict("records")]
            psnr = " / ".join(_number(value, "psnr") for value in by_level["mean_psnr"])
            rows.append([name, perturbation.replace("_", " "), *texts, f"{lines['mean'].mean():+.3f}", psnr])
        header = ["detector", "perturbation", *(f"level {level}" for level in levels), "mean", "PSNR in dB"]
        return TextTable("Change of AUROC per video on perturbed faces of the own test set", header, rows)

    def _draw_matrix(self) -> Figure:
        shown = self.matrix[(self.matrix["level"] == "video") & (self.matrix["minus"] == "")]
        index = {"index": "detector", "columns": "test_set", "aggfunc": "first", "sort": False}
        values, own = (shown.pivot_table(values=name, **index) for name in ("mean", "own"))
        figure = Figure(figsize=(3.6 + 1.4 * values.shape[1], 1.7 + 0.42 * len(values)), layout="constrained")
        axes = figure.add_subplot()
        axes.imshow(values, cmap="RdYlBu", vmin=0.5, vmax=1, aspect="auto")
        for (row, column), value in np.ndenumerate(values.to_numpy()):
            weight = "bold" if own.to_numpy()[row, column] else "normal"
            colour = "white" if value > 0.94 or value < 0.56 else "black"
            axes.text(column, row, f"{value:.3f}", ha="center", va="center", fontweight=weight, color=colour)
        axes.set_xticks(range(values.shape[1]), [name.replace("_", "\n") for name in values.columns])
        axes.set_yticks(range(len(values)), values.index)
        axes.set_title("AUROC per video; bold: the run's own test set", fontsize=11)
        axes.spines[:].set_visible(False)
        return figure

    def _draw_curves(self) -> Figure:
        """AUROC per video over the level of each perturbation; one panel per perturbation."""
        shown = self.robustness[self.robustness["minus"] == ""]
        perturbations = list(dict.fromkeys(shown["perturbation"]))
        columns, detectors = 3, list(dict.fromkeys(shown["detector"]))
        rows = math.ceil(len(perturbations) / columns)
        figure = Figure(figsize=(10.5, 1 + 2.6 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
        for axes, perturbation in zip(panels, perturbations, strict=False):
            for number, name in enumerate(detectors):
                lines = shown[(shown["perturbation"] == perturbation) & (shown["detector"] == name)]
                _draw_line(axes, lines.sort_values("level"), number, len(detectors))
            axes.axhline(0.5, color="#999", linewidth=0.8, linestyle=":")
            axes.set_title(perturbation.replace("_", " "), fontsize=11)
            axes.set(xlabel="level", xticks=sorted(shown["level"].unique()))
        for axes in panels[len(perturbations) :]:
            axes.remove()
        for axes in panels[::columns]:
            axes.set_ylabel("AUROC per video")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
        return figure


def _draw_line(axes, lines: pd.DataFrame, number: int, count: int) -> None:
    """A detector's curve, shifted slightly so that intervals do not hide each other."""
    errors = ((lines["mean"] - lines["low"]).clip(0), (lines["high"] - lines["mean"]).clip(0))
    style = {"color": COLOURS[number % len(COLOURS)], "markersize": 3.5, "linewidth": 1.2, "elinewidth": 0.8}
    places = lines["level"] + 0.06 * (number - (count - 1) / 2)
    axes.errorbar(places, lines["mean"], errors, fmt="o-", label="".join(lines["detector"].unique()), **style)


def _pivot(title: str, lines: pd.DataFrame, text) -> TextTable:
    """Detectors as rows and test sets as columns."""
    test_sets = list(dict.fromkeys(lines["test_set"]))
    cells = {(line["detector"], line["test_set"]): text(line) for line in lines.to_dict("records")}
    rows = [
        [name, *(cells.get((name, test_set), "–") for test_set in test_sets)]
        for name in dict.fromkeys(lines["detector"])
    ]
    return TextTable(title, ["detector", *test_sets], rows)


def _number(value: float, name: str) -> str:
    if math.isnan(value):
        return "–"
    return {"coverage": f"{value:.1%}", "near_duplicates": f"{value:.0f}", "psnr": f"{value:.0f}"}.get(
        name, f"{value:.3f}"
    )


def _as_svg(figure: Figure) -> str:
    buffer = StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()[buffer.getvalue().index("<svg") :]
