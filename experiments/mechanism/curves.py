"""When does masking pay? Effect of three masks on drawn fakes, over the strength and the share of their artefacts.

    python -m experiments.mechanism.curves            # prepares and trains what is missing, then reports
    python -m experiments.mechanism.curves --report   # only reports the finished runs

Run it from the repository's root. Every point is a corpus of its own, drawn like `miniature_shortcut` with another
seed. Two things vary: the strength of all artefacts but the one at the eyes, and the share of training fakes with the
artefact at the eyes. The effect is the AUROC of a row with masked stages minus that of RF, on the test fakes with and
without the artefact at the eyes. It writes curves_SYNTHETIC.csv, curves_SYNTHETIC.md and curves_SYNTHETIC.svg to
experiments/mechanism/output. Training can be stopped at any time; the same command goes on.
"""

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from rich.console import Console

from deepfake_ms.composition import compose
from deepfake_ms.errors import UserError
from deepfake_ms.files import write_atomically
from experiments.markdown import markdown_table
from experiments.mechanism.groups import GROUPS, OUTPUT, compare, read_eye_artefacts, with_interval
from experiments.program import make_parser, run_program
from experiments.report.cells import collect
from experiments.report.figures import STYLE
from experiments.report.paper_tables import Comparison, PaperTable, Row
from experiments.report.protocol import check_protocol, describe

CORPUS = "miniature_shortcut"
DRAW_SEED = 5  # nothing was tuned on it
STRENGTHS = (0.25, 0.5, 1.0, 1.5, 2.0)
SHARES = (0.0, 0.3, 0.6, 0.9)
STRENGTH, SHARE = 1.0, 0.9
"""Strength while the share varies, and share while the strength varies."""

BASELINE = Row("table2_rf", "RF")
MASKED = (
    Row("table2_rf_mep", "RF+MEP"),
    Row("mechanism_rf_random_mask", "RF+random mask"),
    Row("mechanism_rf_mouth_mask", "RF+mouth mask"),
)
ROWS = PaperTable(
    number="mechanism",
    title="Effect of masked stages",
    rows=(BASELINE, *MASKED),
    varied=("mask", "curriculum.name", "curriculum.stages"),
    comparisons=tuple(Comparison(row.experiment, BASELINE.experiment, row.title) for row in MASKED),
)
COLOURS = {"RF": "#555555", "RF+MEP": "#1b5e8c", "RF+random mask": "#c2571a", "RF+mouth mask": "#3a7d44"}
AXES = {"strength": "strength of the other artefacts", "share": "share of training fakes with the eye artefact"}


@dataclass(frozen=True)
class Point:
    """A corpus of the study.

    Attributes:
        strength: factor on the strengths of all artefacts of `CORPUS` except the one at the eyes.
        share: of training fakes with the artefact at the eyes, 0 to 1.
    """

    strength: float
    share: float

    @property
    def name(self) -> str:
        """Of the corpus and of the folder of its runs."""
        return f"shortcut_strength_{self.strength * 100:.0f}_share_{self.share * 100:.0f}"

    @property
    def corpus(self) -> Path:
        return Path("corpora") / self.name

    def overrides(self) -> list[str]:
        """Those of ``deepfake-ms prepare`` and ``train``."""
        usual = compose(f"data={CORPUS}").data.draw.artefacts
        strengths = {name: value if name == "eyes" else self.strength * value for name, value in usual.items()}
        artefacts = ",".join(f"{name}:{value:g}" for name, value in strengths.items())
        draw = (f"seed={DRAW_SEED}", f"artefacts={{{artefacts}}}", f"eye_share_training={self.share}")
        return [
            f"data={CORPUS}",
            f"data.name={self.name}",
            f"data.root={self.corpus}",
            *(f"data.draw.{each}" for each in draw),
        ]


POINTS = tuple(
    dict.fromkeys([*(Point(strength, SHARE) for strength in STRENGTHS), *(Point(STRENGTH, share) for share in SHARES)])
)


def train(seeds: str, jobs: int) -> None:
    """Prepare every corpus, and train what is missing.

    Args:
        seeds: of each row, separated by commas.
        jobs: runs at once.

    Raises:
        SystemExit: a command failed; with its exit status.
    """
    rows = ",".join(row.experiment for row in ROWS.rows)
    sweep = ["-m", "hydra/launcher=isolated", f"hydra.launcher.n_jobs={jobs}", f"experiment={rows}", f"seed={seeds}"]
    for point in POINTS:
        settings = point.overrides()
        for arguments in (["prepare", *settings], ["train", *sweep, "split=official", "size=lite", *settings]):
            command, *rest = arguments
            finished = subprocess.run([sys.executable, "-m", f"deepfake_ms.{command}", *rest])
            if finished.returncode:
                sys.exit(finished.returncode)


def measure(runs_root: Path, resamples: int, console: Console) -> pd.DataFrame:
    """AUROC and effects at every point with finished runs; columns of `compare` and the point's own.

    Args:
        runs_root: folder of the runs of all corpora.
        resamples: bootstrap samples of the test videos per interval.
        console: prints which points and runs are missing.

    Raises:
        UserError: no point has a finished run.
    """
    found = []
    for point in POINTS:
        runs = runs_root / point.name / "genconvit_ed_lite"
        if not runs.is_dir():
            console.print(f"{point.name}: not trained yet.")
            continue
        checked = check_protocol(ROWS, collect(ROWS, runs, runs_root / "multirun"))
        for sentence in checked.excluded:
            console.print(sentence)
        unfinished = [cell.name for cell in checked.cells if not cell.complete]
        if unfinished:
            console.print(f"{point.name}: without {', '.join(unfinished)}.")
        measured = pd.DataFrame(compare(ROWS, checked.cells, read_eye_artefacts(point.corpus), resamples))
        if not measured.empty:
            found.append(measured.assign(strength=point.strength, share=point.share, **describe(checked)))
    if not found:
        raise UserError(f"{runs_root} contains no finished run of this study: train first, without --report.")
    return pd.concat(found, ignore_index=True)


def draw_figure(found: pd.DataFrame) -> Figure:
    """Effects over strength (left) and share (right), on fakes with and without the artefact at the eyes.

    The top row shows the AUROC of RF itself; the others show differences from it, with 95 % intervals over test videos.
    """
    shown = found[found["level"] == "video"]
    figure = Figure(figsize=(9, 9.5), layout="constrained")
    grid = figure.subplots(3, 2, sharey="row")
    panels = {"strength": shown[shown["share"] == SHARE], "share": shown[shown["strength"] == STRENGTH]}
    for column, (name, lines) in enumerate(panels.items()):
        top, *effects = grid[:, column]
        for group, style in zip(GROUPS[1:], ("-", "--"), strict=True):
            rf = lines[(lines["row"] == BASELINE.title) & (lines["minus"] == "") & (lines["group"] == group)]
            _draw_line(top, rf.sort_values(name), name, COLOURS[BASELINE.title], group, style)
        top.set(ylabel="AUROC of RF per video")
        top.set_title(AXES[name], fontsize="medium")
        top.axhline(0.5, color="#999", linewidth=0.8, linestyle=":")
        for axes, group in zip(effects, GROUPS[1:], strict=True):
            axes.axhline(0, color="#999", linewidth=0.8)
            for place, row in enumerate(MASKED):
                line = lines[(lines["row"] == row.title) & (lines["minus"] != "") & (lines["group"] == group)]
                _draw_line(axes, line.sort_values(name), name, COLOURS[row.title], row.title, "-", place - 1)
            axes.set(ylabel=f"difference in AUROC,\n{group}", xlabel=AXES[name])
    for axes in grid[:2, 0]:
        axes.legend(loc="best")
    seeds = " or ".join(map(str, sorted(shown["seeds"].unique())))
    figure.suptitle(
        f"SYNTHETIC: when masking pays. Drawn faces, GenConViT-ED (lite), {seeds} seeds, 95 % intervals over videos",
        color="#a01818",
        fontsize=11,
    )
    return figure


def _draw_line(axes, line: pd.DataFrame, name: str, colour: str, label: str, style: str, shift: int = 0) -> None:
    """A curve with intervals, shifted slightly so that intervals do not hide each other."""
    places = line[name] + shift * 0.012 * (2 if name == "strength" else 1)
    errors = ((line["mean"] - line["low"]).clip(0), (line["high"] - line["mean"]).clip(0))
    axes.errorbar(places, line["mean"], errors, fmt=f"o{style}", color=colour, label=label, markersize=4, linewidth=1.3)


def as_markdown(found: pd.DataFrame) -> str:
    """One table per varied quantity: AUROC of RF, and the effect of each mask, per group; per video."""
    shown = found[found["level"] == "video"].copy()
    shown["text"] = [with_interval(line) for line in shown.to_dict("records")]
    parts = ["# SYNTHETIC: AUROC per video of RF, and its change through masked stages\n"]
    for name, lines in (("strength", shown[shown["share"] == SHARE]), ("share", shown[shown["strength"] == STRENGTH])):
        fixed = f"share {SHARE:g}" if name == "strength" else f"strength {STRENGTH:g}"
        texts = []
        for group in GROUPS[1:]:
            for value in sorted(lines[name].unique()):
                here = lines[(lines[name] == value) & (lines["group"] == group)].set_index(["row", "minus"])["text"]
                keys = [(BASELINE.title, ""), *((row.title, BASELINE.title) for row in MASKED)]
                texts.append([group, f"{value:g}", *(here.get(key, "") for key in keys)])
        header = ["group", name, BASELINE.title, *(f"{row.title} − {BASELINE.title}" for row in MASKED)]
        parts.append(f"## Over the {AXES[name]} ({fixed})\n\n{markdown_table(header, texts)}\n")
    return "\n".join(parts)


def study(options: argparse.Namespace, console: Console) -> None:
    """Train what is missing, write the three files and print the tables.

    Raises:
        UserError: no point has a finished run.
    """
    if not options.report:
        train(options.seeds, options.jobs)
    found = measure(options.runs_root, options.resamples, console)
    write_atomically(options.output / "curves_SYNTHETIC.csv", found.to_csv(index=False))
    markdown = as_markdown(found)
    write_atomically(options.output / "curves_SYNTHETIC.md", markdown)
    with mpl.rc_context({**STYLE, "svg.hashsalt": "curves"}):
        draw_figure(found).savefig(options.output / "curves_SYNTHETIC.svg", metadata={"Date": None})
    console.print(markdown)


def main(arguments: list[str] | None = None) -> None:
    parser = make_parser("mechanism.curves", __doc__, OUTPUT)
    parser.add_argument("--report", action="store_true", help="train nothing")
    parser.add_argument("--seeds", default="0,1,2", help="of each row, separated by commas (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once (default: %(default)s)")
    parser.add_argument("--runs-root", type=Path, default=Path("runs"), help="default: %(default)s")
    run_program(parser, study, arguments)


if __name__ == "__main__":
    main()
