"""Builds the W&B report of a table's runs: rows side by side, then each row's learning curves with its stages.

    python experiments/wandb/dashboard.py --entity ME --runs runs/miniature_shortcut/genconvit_ed_small

The runs' folders say which rows there are and whether their faces are drawn; the numbers are W&B's, so the runs must be
there (`wandb sync`). Needs the package wandb-workspaces and a login. Every call makes a new report.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from deepfake_ms.errors import UserError
from deepfake_ms.scoring.metrics import LEVELS, TITLES
from deepfake_ms.training.run_folder import read_run
from deepfake_ms.training.wandb_run import ID_NAME, STEP, require_login

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2 import PanelGrid, Report, Runset

CURVES = {
    "validation/loss": "Validation loss",
    "validation/auroc": "Validation AUROC",
    "validation/balanced_accuracy": "Validation balanced accuracy",
    "train/loss": "Training loss",
    "learning_rate": "Learning rate",
    "stage": "Stage: each begins where the line rises",
}
COMPARED = ("auroc", "macro_f1", "balanced_accuracy", "eer")
SYNTHETIC = "SYNTHETIC DATA"
WIDTH, HEIGHT = 8, 6
"""Of a panel, in the units of W&B's grid of 24 columns."""


@dataclass(frozen=True)
class Rows:
    """The runs that belong in one report.

    Attributes:
        data, model: their names.
        names: of the rows, sorted; each is a group in W&B.
        synthetic: whether the faces are drawn.
    """

    data: str
    model: str
    names: tuple[str, ...]
    synthetic: bool


def find_rows(folder: Path) -> Rows:
    """The rows under ``<runs_root>/<data>/<model>`` whose runs W&B knows.

    Raises:
        UserError: there are none, or they are about several data or models.
    """
    runs = sorted(path.parent for path in folder.glob(f"*/seed_*/{ID_NAME}"))
    if not runs:
        raise UserError(f"{folder} holds no run that was trained with logger=wandb: give --runs RUNS_ROOT/DATA/MODEL.")
    records = [read_run(run) for run in runs]
    about = {(each["config"]["data"]["name"], each["config"]["model"]["name"], each["synthetic"]) for each in records}
    if len(about) > 1:
        raise UserError(f"{folder} holds runs of several data or models: give --runs RUNS_ROOT/DATA/MODEL.")
    ((data, model, synthetic),) = about
    return Rows(data, model, tuple(sorted({run.parent.name for run in runs})), synthetic)


def build_report(rows: Rows, project: str, entity: str) -> "Report":
    """The report as an object; nothing is sent before its `save`.

    Raises:
        UserError: wandb-workspaces is not installed.
    """
    try:
        import wandb_workspaces.reports.v2 as reports
    except ImportError:
        raise UserError(
            "The report needs the package wandb-workspaces, which is not installed: run `pip install '.[dashboard]'`."
        ) from None

    mark = f" · {SYNTHETIC}" if rows.synthetic else ""
    note = "Drawn faces: nothing here is comparable with published numbers. " if rows.synthetic else ""
    by_row = {name: _runset(reports, rows, name, project, entity) for name in rows.names}
    blocks = [
        reports.P(
            f"{note}Bars are means over seeds with their standard deviation. Intervals, paired differences and the "
            "published numbers: python -m experiments.report."
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
    """A row's runs; their table shows the test scores and nothing else."""
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
    """Means over seeds with their deviation, one bar per row, above the tables of all runs' test scores."""
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
    """Learning curves over the steps of all stages, one line per seed, above the stage that each step is in."""
    panels = [
        reports.LinePlot(title=title, x=STEP, y=[metric], smoothing_factor=0, layout=_place(reports, index))
        for index, (metric, title) in enumerate(CURVES.items())
    ]
    return reports.PanelGrid(runsets=[runset], panels=panels)


def _place(reports, index: int):
    return reports.Layout(x=index % 3 * WIDTH, y=index // 3 * HEIGHT, w=WIDTH, h=HEIGHT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="RUNS_ROOT/DATA/MODEL")
    parser.add_argument("--entity", required=True, help="W&B user or team that the runs are of")
    parser.add_argument("--project", default="deepfake_ms", help="default: %(default)s")
    options = parser.parse_args()
    try:
        report = build_report(find_rows(options.runs), options.project, options.entity)
        require_login("The report", "make experiments/report's page, which needs no network")
    except UserError as error:
        Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {error}", highlight=False)
        raise SystemExit(2) from None
    report.save()
    print(report.url)


if __name__ == "__main__":
    main()
