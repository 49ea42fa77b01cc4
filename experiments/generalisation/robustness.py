"""Detectors on perturbed faces of their own test sets: what each kind and level of degradation costs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from omegaconf import OmegaConf
from rich.console import Console

from deepfake_ms.composition import compose
from deepfake_ms.evaluation.predictions import SELECTED, read_predictions
from deepfake_ms.evaluation.scores import evaluate
from deepfake_ms.evaluation.test_set import ChangesNothing, TestSet
from deepfake_ms.scoring.intervals import bootstrap_intervals, paired_difference
from deepfake_ms.training.run import Run
from deepfake_ms.training.trainer import TrainerSettings
from experiments.generalisation.matrix import METRIC, Detector
from experiments.report.cells import Cell

Perturbed = dict[tuple[Detector, str, int], dict[int, tuple[pd.DataFrame, dict]]]
"""(detector, perturbation, level) → training seed → predictions and what the perturbation changed."""


def perturb_detectors(
    cells: Mapping[Detector, Sequence[Cell]],
    runs: Mapping[Detector, Path],
    perturbations: Sequence[str],
    levels: Sequence[int],
    prepared_root: Path,
    settings: TrainerSettings,
    console: Console,
) -> Perturbed:
    """Score every complete cell on its own test set under every perturbation and level; see `score_detectors`.

    A perturbation that changes no pixel at a level is left out, with a sentence.
    """
    found: Perturbed = {}
    for detector, seeds in cells.items():
        for perturbation in perturbations:
            console.print(f"{detector.name}: {perturbation}, levels {', '.join(map(str, levels))}")
            for level in levels:
                chosen = (f"perturbation={perturbation}", f"perturbation.level={level}", "run=.")
                changes = OmegaConf.to_container(compose(*chosen, config_name="evaluate").perturbation)
                try:
                    found[detector, perturbation, level] = {
                        cell.seed: _score(runs[detector] / cell.name, changes, prepared_root, settings)
                        for cell in seeds
                    }
                except ChangesNothing as error:
                    console.print(str(error))
    return found


def _score(folder: Path, changes: Mapping, prepared_root: Path, settings: TrainerSettings) -> tuple[pd.DataFrame, dict]:
    run = Run.open(folder, None, prepared_root)
    test_set = TestSet.of_run(run, "test", changes)
    scores = evaluate(run, test_set, settings, Console(quiet=True))
    return read_predictions(run, test_set, SELECTED), scores["perturbation"]


def summarise_drops(perturbed: Perturbed, cells: Mapping[Detector, Sequence[Cell]], resamples: int) -> pd.DataFrame:
    """AUROC per video under every perturbation, and its change from the unmodified faces.

    Returns:
        One row per detector, perturbation and level, with `minus` empty or "unmodified", the columns of
        `deepfake_ms.scoring.intervals`, and `mean_psnr` (dB) and `share_changed` of the perturbed faces.
    """
    lines = []
    for (detector, perturbation, level), seeds in perturbed.items():
        unmodified = {cell.seed: cell.predictions for cell in cells[detector]}
        predictions = {seed: table for seed, (table, _) in seeds.items()}
        change = next(iter(seeds.values()))[1]
        about = {"detector": detector.name, "perturbation": perturbation, "level": level, "seeds": len(seeds)}
        about |= {name: change[name] for name in ("mean_psnr", "share_changed")}
        summary = bootstrap_intervals(predictions, "video", (METRIC,), resamples=resamples).loc[METRIC]
        lines.append({**about, "minus": "", **summary})
        summary = paired_difference(predictions, unmodified, "video", (METRIC,), resamples=resamples).loc[METRIC]
        lines.append({**about, "minus": "unmodified", **summary})
    return pd.DataFrame(lines)
