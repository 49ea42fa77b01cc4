"""Finished runs that have learnt nothing, and what evaluating them gives; tests import it."""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import tiny_run
import torch
from rich.console import Console

from deepfake_ms.evaluation.predictions import EVALUATIONS_NAME, PREDICTIONS_NAME
from deepfake_ms.evaluation.scores import evaluate
from deepfake_ms.evaluation.show import print_scores
from deepfake_ms.evaluation.test_set import TestSet
from deepfake_ms.files import sha256_of, write_json
from deepfake_ms.training.detector import Detector
from deepfake_ms.training.run import Run
from deepfake_ms.training.stage_chain import CHAIN_NAME, Handoff


def finished_run(folder: Path, prepared: Path, changes: Mapping | None = None, detector: Detector | None = None) -> Run:
    """A run with one stage that hands on its initial weights, or those of `detector`."""
    run = tiny_run.make_run(folder, prepared, {**tiny_run.ONE_STAGE, **(changes or {})})
    run.claim()
    hand_on(run, detector or run.detector(run.curriculum.stages[0]))
    return run


def hand_on(run: Run, detector: Detector) -> None:
    """Write the detector as the best and the last epoch of the run's only stage, in different files."""
    (stage,) = run.curriculum.stages
    folder = run.folder / stage.name
    folder.mkdir(exist_ok=True)
    for name in ("best", "last"):
        torch.save({"state_dict": detector.state_dict(), "name": name}, folder / f"{name}.ckpt")
    handoff = Handoff(stage.name, f"{stage.name}/best.ckpt", sha256_of(folder / "best.ckpt"), score=0.0, steps=1)
    write_json(run.folder / CHAIN_NAME, {"stages": [asdict(handoff)]})


def scored(
    run: Run, subset: str = "test", perturbation: Mapping | None = None, checkpoint: str = "selected", **trainer
) -> tuple[dict, str]:
    """The scores, and what was printed; `trainer`: arguments of `tiny_run.trainer`."""
    console = Console(file=io.StringIO(), width=300)
    test_set = TestSet.of_run(run, subset, perturbation)
    scores = evaluate(run, test_set, tiny_run.trainer(**trainer), console, checkpoint)
    print_scores(scores, run, console)
    return scores, console.file.getvalue()


def evaluations(run: Run) -> list[dict]:
    """The logged evaluations of test sets."""
    path = run.folder / EVALUATIONS_NAME
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def predictions_of(run: Run, test_set: str, checkpoint: str = "selected") -> pd.DataFrame:
    """The predictions on disk."""
    return pd.read_parquet(run.folder / "evaluation" / test_set / checkpoint / PREDICTIONS_NAME)
