"""Figure 2 as numbers, on tiny runs: shares and reliance of every stage, with the row without masks as reference."""

import pandas as pd
import pytest
import tiny_run
import torch
from rich.console import Console

from deepfake_ms.evaluation.scores import evaluate
from deepfake_ms.evaluation.test_set import TestSet
from deepfake_ms.explanation.trained import TrainedStage
from deepfake_ms.training.run import Run
from experiments.figure2 import __main__ as figure2
from experiments.figure2.faithful import RANDOM, measure_faithfulness, summarise_faithfulness

MAP = {"model.backbone_options.output_stride": 8}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("figure2")
    prepared = tiny_run.write_faces(root / "faces")
    folder = root / "runs" / "tiny" / "small"
    for name, changes in (
        ("table2_base", MAP | {"curriculum.stages": tiny_run.ONE_STAGE["curriculum.stages"]}),
        ("table2_mep", MAP),
    ):
        for seed in (0, 1):
            run = tiny_run.train(folder / name / f"seed_{seed}", prepared, changes | {"seed": seed})
            run.claim()
            evaluate(run, TestSet.of_run(run, "test"), tiny_run.trainer(), Console(quiet=True))
    return folder


def test_every_stage_is_measured_and_compared_with_the_row_without_masks(runs, tmp_path, capsys):
    figure2.main(["--runs", str(runs), "--output", str(tmp_path), "--resamples", "100", "--faithfulness-faces", "4"])
    assert "figure2_SYNTHETIC.html" in capsys.readouterr().out
    detectors = ["base", "MEP, stage 1", "MEP, stage 2", "MEP"]
    shares = pd.read_csv(tmp_path / "shares_SYNTHETIC.csv").fillna({"minus": ""})
    assert shares["detector"].drop_duplicates().tolist() == detectors
    assert set(shares["minus"]) == {"", "base"}
    assert set(shares["fingerprint"]) == {"0123456789ab"}
    assert set(shares["attribution"]) == {"gradcam"}  # not "method", a column of the table of faithfulness
    reliance = pd.read_csv(tmp_path / "reliance_SYNTHETIC.csv")
    auroc = reliance[(reliance["measure"] == "auroc") & (reliance["region"] == "eyes") & (reliance["fill"] == "black")]
    excess = auroc[auroc["comparison"] == "excess"].fillna({"minus": ""}).set_index(["detector", "minus"])["mean"]
    assert set(excess.index) == {(name, "") for name in detectors} | {(name, "base") for name in detectors[1:]}
    assert excess["MEP", "base"] == pytest.approx(excess["MEP", ""] - excess["base", ""])
    page = (tmp_path / "figure2_SYNTHETIC.html").read_text()
    assert "<svg" in page
    assert "Reliance on the eyes (covered: black)" in page


def test_faithfulness_of_fakes_that_are_found(runs):
    (stage,) = TrainedStage.all_of(Run.open(runs / "table2_base" / "seed_0"))
    stage.model.fc2.bias.data += torch.tensor([100.0, -100.0])
    assert measure_faithfulness(stage, stage.run.rows("validation"), None, ("gradcam",)).empty
    stage.model.fc2.bias.data += torch.tensor([-200.0, 200.0])
    found = measure_faithfulness(stage, stage.run.rows("validation"), None, ("gradcam", "rollout"))
    fakes = stage.run.faces.manifest.iloc[stage.run.rows("validation")]["label"] == "fake"
    assert found["sample_id"].nunique() == fakes.sum()
    assert set(found["method"]) == {"gradcam", "rollout", RANDOM}
    assert set(found["measure"]) == {"deletion", "insertion", "randomised"}
    summary = summarise_faithfulness({0: found, 1: found}, 100)
    assert len(summary) == 3 * 2 + 2
    assert summary[summary["measure"] != "randomised"]["mean"].between(0, 1).all()


def test_runs_without_a_row_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        figure2.main(["--runs", str(tmp_path / "a" / "b")])
    assert "contains no run of Table 2" in capsys.readouterr().err
