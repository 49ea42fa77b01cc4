"""What does training without augmentation cost? Rows of Table 2 on noised, compressed, brightened, blurred test faces.

    python -m experiments.mechanism.perturbed --runs runs/miniature_shortcut/genconvit_ed_lite

Run it from the repository's root after `make reproduce-table2`. It scores the finished runs of base (standard
augmentation), NA, RF, MEP, NA+MEP and RF+MEP on perturbed test faces, keeps the predictions in the folders of the runs,
and writes perturbed.csv and perturbed.md to experiments/mechanism/output; drawn faces add SYNTHETIC to their names.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from omegaconf import OmegaConf
from rich.console import Console

from deepfake_ms.assembly import trainer_settings
from deepfake_ms.composition import compose
from deepfake_ms.errors import UserError
from deepfake_ms.evaluation.predictions import SELECTED, read_predictions
from deepfake_ms.evaluation.scores import evaluate
from deepfake_ms.evaluation.test_set import TestSet
from deepfake_ms.files import write_atomically
from deepfake_ms.quiet import hush
from deepfake_ms.scoring.intervals import bootstrap_intervals, paired_difference
from deepfake_ms.scoring.metrics import LEVELS
from deepfake_ms.training.run import Run
from experiments.markdown import markdown_table
from experiments.mechanism.groups import METRIC, OUTPUT, with_interval
from experiments.program import make_parser, run_program
from experiments.report.cells import Cell, collect
from experiments.report.paper_tables import TABLE_2
from experiments.report.protocol import check_protocol, describe

ROWS = ("table2_base", "table2_na", "table2_rf", "table2_mep", "table2_na_mep", "table2_rf_mep")
UNCHANGED = "none"
PERTURBATIONS = (UNCHANGED, "gaussian_noise", "jpeg", "brightness", "gaussian_blur")
"""Files in ``conf/perturbation``."""
STRENGTH = 3
"""Their level."""

Predictions = dict[int, pd.DataFrame]
"""Seed → predictions of the test faces."""


def predict(cells: Sequence[Cell], runs: Path, perturbation: str, prepared_root: Path) -> Predictions:
    """Score the complete cells of a row on perturbed test faces; those scored before are read from their folders.

    Args:
        cells: of one row.
        runs: folder of the model's runs.
        perturbation: a file in ``conf/perturbation``.
        prepared_root: where prepared faces are searched if the recorded folder is gone.

    Raises:
        UserError: a run's faces or checkpoint are missing or have changed.
    """
    strength = [] if perturbation == UNCHANGED else [f"perturbation.level={STRENGTH}"]
    settings = compose(f"perturbation={perturbation}", *strength, "run=.", config_name="evaluate")
    choice = OmegaConf.to_container(settings.perturbation)
    found = {}
    for cell in cells:
        run = Run.open(runs / cell.name, None, prepared_root)
        test_set = TestSet.of_run(run, "test", choice)
        evaluate(run, test_set, trainer_settings(settings), Console(quiet=True))
        found[cell.seed] = read_predictions(run, test_set, SELECTED)
    return found


def compare(predictions: Mapping[tuple[str, str], Predictions], resamples: int) -> Iterator[dict[str, object]]:
    """AUROC of every row under every perturbation, and its change from the unmodified faces.

    Args:
        predictions: (experiment, perturbation) → predictions.
        resamples: bootstrap samples of the test videos per interval.
    """
    for (experiment, perturbation), seeds in predictions.items():
        for level in LEVELS:
            about = {"row": TABLE_2.title_of(experiment), "perturbation": perturbation, "level": level}
            about |= {"seeds": len(seeds)}
            summary = bootstrap_intervals(seeds, level, (METRIC,), resamples=resamples).loc[METRIC]
            yield {**about, "minus": "", **summary}
            if perturbation != UNCHANGED:
                unchanged = predictions[experiment, UNCHANGED]
                summary = paired_difference(seeds, unchanged, level, (METRIC,), resamples=resamples).loc[METRIC]
                yield {**about, "minus": UNCHANGED, **summary}


def as_markdown(found: pd.DataFrame, title: str) -> str:
    """AUROC per video on unmodified faces, and its change under each perturbation."""
    shown = found[found["level"] == "video"].copy()
    shown["text"] = [with_interval(line) for line in shown.to_dict("records")]
    texts = shown.set_index(["row", "perturbation", "minus"])["text"]
    changed = [name for name in PERTURBATIONS if name != UNCHANGED]
    rows = [
        [row, texts[row, UNCHANGED, ""], *(texts[row, name, UNCHANGED] for name in changed)]
        for row in shown["row"].unique()
    ]
    header = ["row", "unmodified", *(f"{name.replace('_', ' ')} − unmodified" for name in changed)]
    return f"# {title}\n\n{markdown_table(header, rows)}\n"


def study(options: argparse.Namespace, console: Console) -> None:
    """Score the runs, write both files and print the table.

    Raises:
        UserError: there are no finished runs, or their faces are missing.
    """
    runs = options.runs.resolve()
    rows = tuple(row for row in TABLE_2.rows if row.experiment in ROWS)
    table = replace(TABLE_2, rows=rows, comparisons=())
    checked = check_protocol(table, collect(table, runs, runs.parents[1] / "multirun"))
    for sentence in checked.excluded:
        console.print(sentence)
    predictions = {}
    for row in rows:
        if cells := [cell for cell in checked.cells if cell.experiment == row.experiment and cell.complete]:
            for perturbation in PERTURBATIONS:
                console.print(f"{row.title}, {perturbation}")
                predictions[row.experiment, perturbation] = predict(cells, runs, perturbation, options.prepared_root)
    if not predictions:
        raise UserError(f"{runs} contains no finished run: train first, with `make reproduce-table2`.")
    about = describe(checked)
    found = pd.DataFrame(compare(predictions, options.resamples)).assign(**about)
    mark = "_SYNTHETIC" if about["synthetic"] else ""
    label = "SYNTHETIC: " if about["synthetic"] else ""
    markdown = as_markdown(found, f"{label}AUROC per video on perturbed test faces, {about['data']}")
    write_atomically(options.output / f"perturbed{mark}.csv", found.to_csv(index=False))
    write_atomically(options.output / f"perturbed{mark}.md", markdown)
    console.print(markdown)


def main(arguments: list[str] | None = None) -> None:
    hush()
    parser = make_parser("mechanism.perturbed", __doc__, OUTPUT)
    parser.add_argument("--runs", type=Path, required=True, help="<runs_root>/<data>/<model>")
    parser.add_argument("--prepared-root", type=Path, default=Path("prepared"), help="default: %(default)s")
    run_program(parser, study, arguments)


if __name__ == "__main__":
    main()
