"""``deepfake-ms explain`` for finished runs: page, region shares, pictures, reliance, and sentences for mistakes."""

import re
import time

import cv2
import numpy as np
import pandas as pd
import pytest
import tiny_run
from offline_wandb import OfflineRun

from deepfake_ms import explain as command
from deepfake_ms.composition import compose
from deepfake_ms.errors import UserError
from deepfake_ms.explanation.maps import choose_faces
from deepfake_ms.explanation.regions import REGIONS

MAP = {"model.backbone_options.output_stride": 8}
"""A feature map of 4 x 4 cells; the tiny run's own has one cell, which says nothing about where."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explained")
    prepared = tiny_run.write_faces(folder / "faces")
    made = {}
    for name, changes in (("mep", MAP), ("base", MAP | tiny_run.ONE_STAGE)):
        run = tiny_run.train(folder / name / "seed_0", prepared, changes)
        run.claim()
        made[name] = run.folder
    return made


def explain(*overrides):
    command.explain(compose(*overrides, config_name="explain"))


def test_runs_side_by_side(runs, tmp_path, capsys):
    explain("what=gradcam", f"runs=[{runs['base']},{runs['mep']}]", f"output={tmp_path}", "count=5")
    assert "5 faces, and region shares over 11 faces" in capsys.readouterr().out
    (folder,) = tmp_path.glob("gradcam_tiny_small_base_seed_0_*")
    page = (folder / "page.html").read_text()
    assert "SYNTHETIC DATA" in page
    assert "Where base seed 0 and mep seed 0 look" in page
    assert "A reconstruction resembles the face only if the model was trained to reconstruct it" in page
    assert "Grad-CAM of the predicted class on 11 unmasked faces of the test set" in page
    pictures = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)" alt="([^"]+)"', page)
    # Input, masked input, and per run a reconstruction and two attributions.
    assert len(pictures) == 5 * (2 + 2 * 3)
    assert "//" not in re.sub(r'src="data:[^"]*"', "", page).replace("</", "")
    shares = pd.read_csv(folder / "shares.csv").fillna({"minus": ""})
    per_view = shares[(shares["measure"] == "share") & (shares["minus"] == "")]
    totals = per_view.groupby(["detector", "view"])["mean"].sum()
    assert len(totals) == 4
    assert totals.between(0.999, 1.001).all()
    difference = shares[(shares["minus"] == "base seed 0") & (shares["measure"] == "share")]
    assert set(difference["region"]) == set(REGIONS)


def test_stages_of_a_run_and_one_picture_per_face(runs, tmp_path):
    explain("what=stages", f"run={runs['mep']}", "faces=[036,037]", f"output={tmp_path}", "method=eigencam")
    (folder,) = tmp_path.glob("stages_tiny_small_mep_seed_0_*")
    page = (folder / "page.html").read_text()
    for stage in tiny_run.STAGES:
        assert f"mep seed 0, {stage}: attribution, image" in page
    assert sorted(path.name for path in (folder / "faces").iterdir()) == ["036.png", "037.png"]
    picture = cv2.imread(str(folder / "faces" / "036.png"))
    assert picture.shape == (160 + 3 * 22, 160 * (2 + 3 * 3), 3)


def test_weights_and_biases_shows_faces_and_shares(runs, tmp_path):
    explain("what=gradcam", f"run={runs['mep']}", f"output={tmp_path}", "count=2", "logger=wandb")
    (folder,) = tmp_path.glob("gradcam_tiny_small_mep_seed_0_*")
    shares = pd.read_csv(folder / "shares.csv").set_index(["view", "region", "measure"])["mean"]
    key = "mep seed 0/image/eyes/share"
    end = time.monotonic() + 30
    while key not in (logged := OfflineRun(folder)).summary and time.monotonic() < end:
        time.sleep(0.1)  # W&B's own process writes the last records after the run has finished
    assert logged.summary[key] == pytest.approx(shares["image", "eyes", "share"])
    assert len(list(folder.glob("wandb/offline-run-*/files/media/images/*.png"))) == 2
    assert {"tiny", "synthetic"} <= set(logged.run.tags)
    assert logged.run.run_group == "explain"


def test_weights_and_biases_has_the_reliance(runs, tmp_path):
    explain("what=reliance", f"run={runs['base']}", f"output={tmp_path}", "logger=wandb")
    (folder,) = tmp_path.glob("reliance_tiny_small_base_seed_0_*")
    found = pd.read_csv(folder / "reliance.csv", keep_default_na=False)
    line = found[found[["measure", "region", "fill", "comparison"]].eq(["auroc", "eyes", "blur", "excess"]).all(axis=1)]
    key = "base seed 0/auroc/eyes/blur/excess"
    end = time.monotonic() + 30
    while key not in (logged := OfflineRun(folder)).summary and time.monotonic() < end:
        time.sleep(0.1)  # W&B's own process writes the last records after the run has finished
    assert logged.summary[key] == pytest.approx(float(line["mean"].iloc[0]))
    assert "base seed 0/auroc/unchanged" in logged.summary


def test_reliance_page(runs, tmp_path):
    explain("what=reliance", f"run={runs['base']}", f"output={tmp_path}", "test_set=validation")
    (folder,) = tmp_path.glob("reliance_tiny_small_base_seed_0_*")
    found = pd.read_csv(folder / "reliance.csv", keep_default_na=False)
    assert set(found["region"]) == {"", "eyes", "nose", "mouth"}
    assert set(found["fill"]) == {"", "black", "mean", "blur"}
    page = (folder / "page.html").read_text()
    assert "base seed 0: change when a region is covered" in page
    assert not (runs["base"] / "test_evaluations.jsonl").exists()


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["what=gradcam"], r"what=gradcam explains finished runs: give run=FOLDER or runs="),
        (["what=shap"], r"what=shap is unknown; choose from masks, augmentations, perturbations, gradcam"),
        (["what=gradcam", "run={mep}", "faces=[999]"], r"faces: 999 is not in the test set of .*for example, 036"),
        (["what=gradcam", "run={mep}", "count=0"], r"count=0: ask for at least one face"),
        (["what=gradcam", "run={mep}", "target=both"], r"target=both is unknown; choose from predicted, fake, real"),
        (["what=gradcam", "run={mep}", "test_set=train"], r"test_set=train is unknown; choose from test, validation"),
        (["what=stages", "runs=[{mep},{base}]"], r"what=stages shows the stages of one run: give run=FOLDER"),
        (["what=stages", "run={mep}", "method=shap"], r"method=shap is unknown"),
        (["what=gradcam", "run={mep}", "runs=[{base}]"], r"give run=FOLDER or runs="),
    ],
)
def test_mistakes(runs, tmp_path, overrides, sentence):
    with pytest.raises(UserError, match=sentence):
        explain(*(each.format(**runs) for each in overrides), f"output={tmp_path}")
    assert not list(tmp_path.iterdir())


def test_rollout_without_a_transformer_is_refused(runs, tmp_path):
    prepared = runs["mep"].parents[1] / "faces"
    run = tiny_run.train(tmp_path / "rst" / "seed_0", prepared, MAP | tiny_run.ONE_STAGE | {"model.swin": "removed"})
    run.claim()
    with pytest.raises(UserError, match=r"method=rollout: the model of .* has no transformer over the image"):
        explain("what=rollout", f"run={run.folder}", f"output={tmp_path / 'out'}")


def test_faces_without_landmarks_are_refused(runs, tmp_path):
    prepared = tiny_run.write_faces(tmp_path / "faces")
    manifest = pd.read_parquet(prepared / "manifest.parquet")
    manifest.loc[40, "nose_x"] = None
    manifest.to_parquet(prepared / "manifest.parquet")
    run = tiny_run.train(tmp_path / "base" / "seed_0", prepared, MAP | tiny_run.ONE_STAGE)
    run.claim()
    for what in ("gradcam", "reliance"):
        with pytest.raises(UserError, match=r"1 of 11 faces in .*faces lack landmarks, .* \(first: 040\)"):
            explain(f"what={what}", f"run={run.folder}", f"output={tmp_path / 'out'}")


def test_wrong_decisions_are_shown_first():
    faces = pd.DataFrame({"video_id": list("aaaabbbbcd"), "label": [0] * 4 + [1] * 4 + [0, 1]})
    faces["fake_probability"] = faces["label"].astype(float)
    faces.loc[[2, 5], "fake_probability"] = [1.0, 0.0]
    for seed in range(5):
        chosen = choose_faces(faces, np.arange(10) + 100, count=4, seed=seed)
        assert {102, 105} == set(chosen[:2])
        assert len(choose_faces(faces, np.arange(10), count=24, seed=seed)) == 10


def test_an_unfinished_run_is_refused(runs, tmp_path):
    folder = tmp_path / "mep" / "seed_0"
    prepared = runs["mep"].parents[1] / "faces"
    assert tiny_run.interrupt(folder, prepared, 30)
    tiny_run.make_run(folder, prepared).claim()
    with pytest.raises(UserError, match=r"has finished \d of 3 stages: run the same train command again"):
        explain("what=gradcam", f"run={folder}", f"output={tmp_path / 'out'}")


def test_runs_with_other_faces_are_refused(runs, tmp_path):
    prepared = tiny_run.write_faces(tmp_path / "others")
    (prepared / "crops" / "000.png").write_bytes((prepared / "crops" / "001.png").read_bytes())
    manifest = pd.read_parquet(prepared / "manifest.parquet")
    manifest.loc[0, "sha256"] = "0" * 64
    manifest.to_parquet(prepared / "manifest.parquet")
    run = tiny_run.train(tmp_path / "other" / "seed_0", prepared, tiny_run.ONE_STAGE)
    run.claim()
    with pytest.raises(UserError, match="have different faces or splits"):
        explain("what=gradcam", f"runs=[{runs['mep']},{run.folder}]", f"output={tmp_path / 'out'}")
