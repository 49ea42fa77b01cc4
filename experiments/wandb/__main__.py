"""The W&B report of a table's runs: test scores of all rows side by side, then the learning curves of each row.

    python -m experiments.wandb --entity ME --runs runs/miniature_shortcut/genconvit_ed_small

The rows, and whether their faces are drawn, are read from the run folders; the numbers come from W&B, so the runs must
be uploaded (`wandb sync`). Needs the package wandb-workspaces and a login. Every call creates a new report.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake_ms.cli import print_error
from deepfake_ms.errors import UserError
from deepfake_ms.scoring.metrics import LEVELS, TITLES
from deepfake_ms.training.run_folder import read_record
from deepfake_ms.training.wandb_run import ID_NAME, STEP, require_login

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2 import PanelGrid, Report, Runset

CURVES = {
    "validation/loss": "Validation loss",
    "validation/auroc": "Validation AUROC",
    "validation/balanced_accuracy": "Validation balanced accuracy",
    "train/loss": "Training loss",
    "learning_rate": "Learning rate",
    "stage": "Stage number",
}
COMPARED = ("auroc", "macro_f1", "balanced_accuracy", "eer")
SYNTHETIC = "SYNTHETIC DATA"
WIDTH, HEIGHT = 8, 6
"""Size of a panel, in units of W&B's grid of 24 columns."""


@dataclass(frozen=True)
class Rows:
    """The rows of one report.

    Attributes:
        data, model: names of the data and the model.
        names: sorted names of the rows; each is a group in W&B.
        synthetic: whether the faces are drawn.
    """

    data: str
    model: str
    names: tuple[str, ...]
    synthetic: bool


def find_rows(folder: Path) -> Rows:
    """The rows in ``<runs_root>/<data>/<model>`` with runs that were logged to W&B.

    Raises:
        UserError: there are none, or they have different data or models.
    """
    runs = sorted(path.parent for path in folder.glob(f"*/seed_*/{ID_NAME}"))
    if not runs:
        raise UserError(f"{folder} contains no run trained with logger=wandb: give --runs RUNS_ROOT/DATA/MODEL.")
    records = [read_record(run) for run in runs]
    about = {(each["config"]["data"]["name"], each["config"]["model"]["name"], each["synthetic"]) for each in records}
    if len(about) > 1:
        raise UserError(f"{folder} contains runs of several datasets or models: give --runs RUNS_ROOT/DATA/MODEL.")
    ((data, model, synthetic),) = about
    return Rows(data, model, tuple(sorted({run.parent.name for run in runs})), synthetic)


def build_report(rows: Rows, project: str, entity: str) -> "Report":
    """The report as an object; nothing is sent until it is saved.

    Raises:
        UserError: wandb-workspaces is not installed.
    """
    try:
        import wandb_workspaces.reports.v2 as reports
    except ImportError:
        raise UserError(
            "The report needs the package wandb-workspaces, which is missing: run `pip install -e '.[dashboard]'`."
        ) from None

    mark = f" · {SYNTHETIC}" if rows.synthetic else ""
    note = "The faces are drawn: these numbers are not comparable with published ones. " if rows.synthetic else ""
    by_row = {name: _runset(reports, rows, name, project, entity) for name in rows.names}
    blocks = [
        reports.P(
            f"{note}Bars are means over seeds with their standard deviation. For confidence intervals, paired "
            "differences and the published numbers, run python -m experiments.report."
        ),
        reports.TableOfContents(),
        reports.H2(f"Test scores{mark}"),
        _comparison(reports, list(by_row.values()), mark),
    ]
    for name, runset in by_row.items():
        blocks += [reports.H2(f"{name}{mark}"), _curves(reports, runset)]
    title = f"Deepfake detection · {rows.data} · {rows.model}{mark}"
    return reports.Report(project=project, entity=entity, title=title, blocks=blocks, width="fluid")


def _runset(reports, rows: Rows, name: str, project: str, entity: str) -> "Runset":
    """The runs of a row; their table shows only the test scores."""
    from wandb_workspaces.expr import Metric, Tags

    scores = [f"summary:test/{level}/{metric}" for level in LEVELS for metric in TITLES]
    return reports.Runset(
        project=project,
        entity=entity,
        name=name,
        filters=[Metric("Group") == name, *(Tags().isin([tag]) for tag in (rows.data, rows.model))],
        visible_columns=["run:displayName", *scores],
        column_order=["run:displayName", *scores],
        lock_columns=True,
    )


def _comparison(reports, runsets: list["Runset"], mark: str) -> "PanelGrid":
    """Bar plots of means over seeds with standard deviations, one bar per row, above tables of all test scores."""
    panels = [
        reports.BarPlot(
            title=f"{TITLES[metric]}, test {level}s{mark}",
            metrics=[f"test/{level}/{metric}"],
            groupby="group",
            groupby_aggfunc="mean",
            groupby_rangefunc="stddev",
            layout=_place(reports, index),
        )
        for index, (metric, level) in enumerate((metric, level) for metric in COMPARED for level in LEVELS)
    ]
    return reports.PanelGrid(runsets=runsets, panels=panels)


def _curves(reports, runset: "Runset") -> "PanelGrid":
    """Learning curves over the steps of all stages, one line per seed, with the number of the stage."""
    panels = [
        reports.LinePlot(title=title, x=STEP, y=[metric], smoothing_factor=0, layout=_place(reports, index))
        for index, (metric, title) in enumerate(CURVES.items())
    ]
    return reports.PanelGrid(runsets=[runset], panels=panels)


def _place(reports, index: int):
    return reports.Layout(x=index % 3 * WIDTH, y=index // 3 * HEIGHT, w=WIDTH, h=HEIGHT)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.wandb", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, required=True, help="RUNS_ROOT/DATA/MODEL")
    parser.add_argument("--entity", required=True, help="W&B user or team that owns the runs")
    parser.add_argument("--project", default="deepfake_ms", help="default: %(default)s")
    options = parser.parse_args(arguments)
    try:
        report = build_report(find_rows(options.runs), options.project, options.entity)
        require_login("The report", "use python -m experiments.report, which needs no network")
    except UserError as error:
        print_error(error)
        sys.exit(2)
    report.save()
    print(report.url)


if __name__ == "__main__":
    main()
