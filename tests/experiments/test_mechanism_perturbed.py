"""The price of training without augmentation, on tiny runs: predictions per perturbation, and their differences."""

import pandas as pd
import pytest
import tiny_run
from rich.console import Console

from deepfake_ms.evaluation.scores import evaluate
from deepfake_ms.evaluation.test_set import TestSet
from experiments.mechanism import perturbed


def test_rows_are_scored_under_every_perturbation(tmp_path, capsys):
    prepared = tiny_run.write_faces(tmp_path / "faces")
    runs = tmp_path / "runs" / "tiny" / "small"
    run = tiny_run.train(runs / "table2_rf" / "seed_0", prepared, tiny_run.ONE_STAGE)
    run.claim()
    evaluate(run, TestSet.of_run(run, "test"), tiny_run.trainer(), Console(quiet=True))
    perturbed.main(["--runs", str(runs), "--output", str(tmp_path), "--resamples", "100"])
    found = pd.read_csv(tmp_path / "perturbed_SYNTHETIC.csv").fillna({"minus": ""})
    video = found[found["level"] == "video"].set_index(["perturbation", "minus"])["mean"]
    assert len(video) == 5 + 4
    for name in perturbed.PERTURBATIONS[1:]:
        assert video[name, "none"] == pytest.approx(video[name, ""] - video["none", ""])
    assert {path.name for path in (run.folder / "evaluation").iterdir()} == {
        "validation",
        "test",
        *(f"test_{name}_3" for name in perturbed.PERTURBATIONS[1:]),
    }
    written = (tmp_path / "perturbed_SYNTHETIC.md").read_text()
    assert written.startswith("# SYNTHETIC: AUROC per video on perturbed test faces, tiny")
    assert "| RF | " in written
    assert "gaussian noise − unmodified" in capsys.readouterr().out
