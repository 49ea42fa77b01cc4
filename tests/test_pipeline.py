"""The whole path on a very small drawn corpus: videos, faces, stages, checkpoints, scores."""

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from wandb.proto.wandb_internal_pb2 import Record

from deepfake_ms.datasets import find_corpus
from deepfake_ms.datasets.miniature import MiniatureRecipe, draw_corpus
from deepfake_ms.manifest import read_manifest
from deepfake_ms.preprocessing.prepare import prepare_corpus
from deepfake_ms.preprocessing.recipe import PrepareRecipe

RUN = Path("runs/miniature/genconvit_ed_small/table2_wl_rf_mep/seed_0")
CORPUS = {
    "identities": 12,
    "videos_per_identity": 1,
    "youtube_people": 3,
    "fakes": 15,
    "seconds": 2,
    "fps": 1,
    "artefacts": {"eyes": 0.0, "seam": 1.0, "mouth": 0.0, "resample": 0.0},
}
DRAW = [
    *(f"++data.draw.{name}={value}" for name, value in CORPUS.items() if name != "artefacts"),
    *(f"data.draw.artefacts.{name}={strength}" for name, strength in CORPUS["artefacts"].items()),
    "workers=1",
]
TRAIN = ("experiment=table2_wl_rf_mep", "recipe.epochs=3", "recipe.batch_size=4", "model.input_size=64")


@pytest.fixture(scope="module")
def workshop(tmp_path_factory) -> Path:
    """A folder with the drawn corpus, prepared."""
    folder = tmp_path_factory.mktemp("workshop")
    recipe = MiniatureRecipe(**CORPUS)
    root = draw_corpus(recipe, folder / "corpora" / "miniature", workers=1)
    prepare_corpus(find_corpus("celebdf", root), "miniature", PrepareRecipe(), folder / "prepared")
    return folder


@pytest.fixture
def here(workshop, call, monkeypatch) -> Path:
    """Work in that folder."""
    monkeypatch.chdir(workshop)
    return workshop


@pytest.fixture(scope="module")
def trained(workshop, tmp_path_factory) -> tuple[Path, str]:
    """A finished run in that folder, and what the command printed."""
    done = subprocess.run(
        [sys.executable, "-m", "deepfake_ms.train", *TRAIN],
        cwd=workshop,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "300"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return workshop / RUN, done.stdout


def test_one_command_trains_and_scores(trained):
    run, printed = trained
    scores = json.loads((run / "evaluation/test_handoff/scores.json").read_text())
    split = pd.read_parquet(run / "split.parquet")
    predictions = pd.read_parquet(run / "evaluation/test_handoff/predictions.parquet")
    tested = split.loc[split["side"] == "test", "sample_id"]
    assert set(predictions["sample_id"]) == set(tested)
    assert len(predictions) == len(tested)
    assert predictions["fake_probability"].between(0, 1).all()
    assert scores["data"]["synthetic"]
    assert set(scores["metrics"]) == {"frame", "video"}
    assert scores["videos"] == predictions["video_id"].nunique()
    for said in ("SYNTHETIC", "identity", scores["data"]["fingerprint"], scores["scored_by"], "1 seed", "stage 3/3"):
        assert said in printed
    assert f"{scores['metrics']['video']['auroc']:.4f}" in printed
    assert not list(run.parents[4].glob("*.log"))  # Hydra leaves nothing of its own


def test_called_again_it_says_what_is_finished_and_repeats_the_scores(trained, call, here):
    run, printed = trained
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.ckpt")}
    status, again, _ = call("train", *TRAIN)
    assert status == 0
    assert "3 of 3 stages are finished and kept" in again
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*.ckpt")} == before
    assert "this checkpoint is scored already" in again
    assert again.splitlines()[-8:] == printed.splitlines()[-8:]
    status, prepared, _ = call("prepare", *DRAW)
    assert status == 0
    assert "drawing the miniature corpus: all 30 videos are done already" in prepared
    assert "finding faces: all 30 videos are done already" in prepared


def test_another_configuration_does_not_overwrite_a_run(trained, call, here):
    status, _, errors = call("train", *TRAIN, "loss.class_weights.fake=3")
    assert status == 2
    assert "loss.class_weights.fake: 1.85 -> 3" in errors


def test_the_last_epoch_and_the_validation_side_can_be_scored(trained, call, here):
    status, printed, errors = call("evaluate", f"run={RUN}", "checkpoint=last", "side=validation")
    assert status == 0, errors
    assert "validation side" in printed
    assert "last epoch" in printed
    folder = here / RUN / "evaluation/validation_last"
    split = pd.read_parquet(here / RUN / "split.parquet")
    assert len(pd.read_parquet(folder / "predictions.parquet")) == (split["side"] == "validation").sum()


def test_two_processes_score_an_odd_test_set_like_one(trained, workshop):
    run = workshop / "two"
    shutil.copytree(trained[0], run)
    one = pd.read_parquet(run / "evaluation/test_handoff/predictions.parquet")
    split = pd.read_parquet(run / "split.parquet")
    odd = split.index[split["side"] == "test"][-1]
    if (split["side"] == "test").sum() % 2 == 0:
        split.loc[odd, "side"] = "unused"
        one = one[one["sample_id"] != split.loc[odd, "sample_id"]].reset_index(drop=True)
    split.to_parquet(run / "split.parquet", index=False)
    shutil.rmtree(run / "evaluation")
    done = subprocess.run(
        [sys.executable, "-m", "deepfake_ms.evaluate", f"run={run}", "trainer.devices=2", "trainer.strategy=ddp"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    two = pd.read_parquet(run / "evaluation/test_handoff/predictions.parquet")
    assert len(two) % 2 == 1
    assert two["sample_id"].tolist() == one["sample_id"].tolist()
    np.testing.assert_allclose(two["fake_probability"], one["fake_probability"], atol=1e-5)


def test_an_unfinished_run_and_a_changed_checkpoint_are_not_scored(trained, workshop, call):
    run = workshop / "unfinished"
    shutil.copytree(trained[0], run)
    shutil.rmtree(run / "evaluation")
    with (run / "3_masked_eyes/best.ckpt").open("ab") as checkpoint:
        checkpoint.write(b"x")
    status, _, errors = call("evaluate", f"run={run}")
    assert status == 2
    assert "has changed since its stage handed it over" in errors
    chain = json.loads((run / "chain.json").read_text())
    (run / "chain.json").write_text(json.dumps({"stages": chain["stages"][:2]}))
    status, _, errors = call("evaluate", f"run={run}")
    assert status == 2
    assert "finished 2 of 3 stages" in errors


def test_the_contact_sheet_shows_the_masks(workshop, call, here):
    status, _, errors = call("explain", "what=masks", "count=4", "output=sheets")
    assert status == 0, errors
    sheet = cv2.imread(str(next((here / "sheets").glob("*_masks.png"))))
    assert sheet.shape == (18 + 2 * 224, 4 * 224, 3)
    cropped, masked = sheet[18:242], sheet[242:]
    changed = (cropped != masked).any(axis=2)
    assert 0.02 < changed.mean() < 0.2
    assert (masked[changed] == 0).all()


def test_wandb_gets_one_offline_run_with_continuous_steps(workshop, call, here):
    status, _, errors = call("train", *TRAIN, "name=logged", "logger=wandb", "evaluate=false")
    assert status == 0, errors
    run = here / RUN.parent.parent / "logged" / "seed_0"
    identifier = (run / "wandb_id.txt").read_text()
    (file,) = (run / "wandb").glob(f"offline-run-*/run-{identifier}.wandb")
    history = read_history(file)
    steps = history["trainer/global_step"].dropna()
    assert steps.is_monotonic_increasing
    table = pd.read_csv(run / "metrics.csv")
    assert history["stage"].dropna().tolist() == [1, 2, 3]
    logged = history.dropna(subset="validation/loss")
    np.testing.assert_allclose(logged["validation/loss"], table["validation/loss"], rtol=1e-6)
    assert steps.max() == table["step"].max() - 1  # Lightning counts from 0


def read_history(file: Path) -> pd.DataFrame:
    """The rows of an offline run's history."""
    rows = []
    for content in read_log(file.read_bytes()):
        record = Record()
        record.ParseFromString(content)
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    return pd.DataFrame(rows)


def read_log(content: bytes, block: int = 32768, header: int = 7):
    """The records of a W&B file: 7 bytes of magic, then LevelDB's log format (crc, length, whole/first/middle/last)."""
    place, parts = header, []
    while place + header <= len(content):
        if block - place % block < header:
            place += block - place % block
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        parts.append(content[place + header : place + header + length])
        place += header + length
        if kind in (1, 4):
            yield b"".join(parts)
            parts = []


@pytest.mark.parametrize("missing", ["real", "fake"])
def test_one_class_only_can_be_prepared_but_not_trained_on(workshop, tmp_path, call, missing):
    faces = read_manifest(next((workshop / "prepared").glob("miniature-*")))
    kept = faces[faces["label"] != missing].head(4)
    folder = tmp_path / "faces" / kept["label"].iloc[0]
    folder.mkdir(parents=True)
    for number, crop in enumerate(kept["crop"]):
        shutil.copy(next((workshop / "prepared").glob("miniature-*")) / crop, folder / f"person{number}_0.png")
    common = ("data=folder", f"data.root={tmp_path / 'faces'}", "split=video")
    assert call("prepare", *common[:2], "workers=0")[0] == 0
    status, _, errors = call("train", *common)
    assert status == 2
    assert "needs real and fake faces" in errors
