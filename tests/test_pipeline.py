"""The whole path on a very small drawn corpus: videos, faces, stages, checkpoints, scores."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from offline_wandb import OfflineRun
from omegaconf import OmegaConf

from deepfake_ms.datasets import find_corpus
from deepfake_ms.datasets.miniature import MiniatureSettings, draw_corpus
from deepfake_ms.manifest import read_manifest
from deepfake_ms.preprocessing.prepare import prepare_corpus
from deepfake_ms.preprocessing.settings import PreparationSettings

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
TRAIN = ("experiment=table2_wl_rf_mep", "optimization.epochs=3", "optimization.batch_size=4", "model.input_size=64")


@pytest.fixture(scope="module")
def workshop(tmp_path_factory) -> Path:
    """A folder with the drawn corpus, prepared."""
    folder = tmp_path_factory.mktemp("workshop")
    optimization = MiniatureSettings(**CORPUS)
    root = draw_corpus(optimization, folder / "corpora" / "miniature", workers=1)
    prepare_corpus(find_corpus("celebdf", root), "miniature", PreparationSettings(), folder / "prepared")
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
    scores = json.loads((run / "evaluation/test/selected/scores.json").read_text())
    split = pd.read_parquet(run / "split.parquet")
    predictions = pd.read_parquet(run / "evaluation/test/selected/predictions.parquet")
    tested = split.loc[split["subset"] == "test", "sample_id"]
    assert set(predictions["sample_id"]) == set(tested)
    assert len(predictions) == len(tested)
    assert predictions["fake_probability"].between(0, 1).all()
    assert scores["data"]["synthetic"]
    assert set(scores["metrics"]) == {"frame", "video"}
    assert scores["test_evaluations"] == 1
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
    assert "3 of 3 stages are already finished" in again
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*.ckpt")} == before
    assert "predictions of this checkpoint are up to date" in again
    assert again.splitlines()[-8:] == printed.splitlines()[-8:]
    status, prepared, _ = call("prepare", *DRAW)
    assert status == 0
    assert "drawing the miniature corpus: all 30 videos are already done" in prepared
    assert "finding faces: all 30 videos are already done" in prepared


def test_another_configuration_does_not_overwrite_a_run(trained, call, here):
    status, _, errors = call("train", *TRAIN, "loss.class_weights.fake=3")
    assert status == 2
    assert "loss.class_weights.fake: 1.85 -> 3" in errors


def test_an_equal_run_of_another_name_takes_over_the_stages(trained, call, here):
    status, printed, errors = call("train", *TRAIN, "name=again")
    assert status == 0, errors
    assert printed.count("is reused from") == 3
    again = here / RUN.parents[1] / "again" / RUN.name
    scores = [json.loads((run / "evaluation/test/selected/scores.json").read_text()) for run in (here / RUN, again)]
    assert scores[0]["metrics"] == scores[1]["metrics"]


def test_the_last_epoch_can_be_scored_on_the_validation_set(trained, call, here):
    status, printed, errors = call("evaluate", f"run={RUN}", "checkpoint=last", "test_set=validation")
    assert status == 0, errors
    assert "validation set of split" in printed
    assert "last epoch" in printed
    folder = here / RUN / "evaluation/validation/last"
    split = pd.read_parquet(here / RUN / "split.parquet")
    assert len(pd.read_parquet(folder / "predictions.parquet")) == (split["subset"] == "validation").sum()


def test_a_perturbed_test_set_has_results_of_its_own(trained, call, here):
    plain = pd.read_parquet(here / RUN / "evaluation/test/selected/predictions.parquet")
    status, printed, errors = call("evaluate", f"run={RUN}", "perturbation=gaussian_noise")
    assert status == 0, errors
    assert "Perturbation: gaussian_noise, level 3" in printed
    folder = here / RUN / "evaluation/test_gaussian_noise_3/selected"
    noisy = pd.read_parquet(folder / "predictions.parquet")
    assert noisy["sample_id"].tolist() == plain["sample_id"].tolist()
    assert not np.allclose(noisy["fake_probability"], plain["fake_probability"], atol=1e-4)
    thresholds = [
        json.loads((each / "scores.json").read_text())["validation_thresholds"]
        for each in (folder, here / RUN / "evaluation/test/selected")
    ]
    assert thresholds[0] == thresholds[1]  # the run's own, whatever it is scored on
    logged = [json.loads(line) for line in (here / RUN / "test_evaluations.jsonl").read_text().splitlines()]
    assert [entry["test_set"] for entry in logged] == ["test", "test_gaussian_noise_3"]


def test_two_processes_score_an_odd_test_set_like_one(trained, workshop):
    run = workshop / "two"
    shutil.copytree(trained[0], run)
    one = pd.read_parquet(run / "evaluation/test/selected/predictions.parquet")
    split = pd.read_parquet(run / "split.parquet")
    odd = split.index[split["subset"] == "test"][-1]
    if (split["subset"] == "test").sum() % 2 == 0:
        split.loc[odd, "subset"] = "unused"
        one = one[one["sample_id"] != split.loc[odd, "sample_id"]].reset_index(drop=True)
    split.to_parquet(run / "split.parquet", index=False)
    shutil.rmtree(run / "evaluation")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "deepfake_ms.evaluate",
            f"run={run}",
            "trainer.lightning.devices=2",
            "trainer.lightning.strategy=ddp",
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    two = pd.read_parquet(run / "evaluation/test/selected/predictions.parquet")
    assert len(two) % 2 == 1
    assert two["sample_id"].tolist() == one["sample_id"].tolist()
    np.testing.assert_allclose(two["fake_probability"], one["fake_probability"], atol=1e-5)
    assert (run / "evaluation/validation/selected/predictions.parquet").is_file()
    before, after = ((folder / "test_evaluations.jsonl").read_text().splitlines() for folder in (trained[0], run))
    assert len(after) == len(before) + 1  # one for both processes


def test_an_unfinished_run_and_a_changed_checkpoint_are_not_scored(trained, workshop, call):
    run = workshop / "unfinished"
    shutil.copytree(trained[0], run)
    shutil.rmtree(run / "evaluation")
    with (run / "3_masked_eyes/best.ckpt").open("ab") as checkpoint:
        checkpoint.write(b"x")
    status, _, errors = call("evaluate", f"run={run}")
    assert status == 2
    assert "has changed since its stage finished" in errors
    chain = json.loads((run / "chain.json").read_text())
    (run / "chain.json").write_text(json.dumps({"stages": chain["stages"][:2]}))
    status, _, errors = call("evaluate", f"run={run}")
    assert status == 2
    assert "finished 2 of 3 stages" in errors


@pytest.mark.parametrize("mask", ["eyes", "eyes_and_mouth", "random_boxes"])
def test_the_contact_sheet_shows_the_masks(workshop, call, here, mask):
    status, _, errors = call("explain", "what=masks", "count=4", f"mask={mask}", "output=sheets")
    assert status == 0, errors
    sheet = cv2.imread(str(next((here / "sheets").glob(f"*_{mask}.png"))))
    assert sheet.shape == (18 + 2 * 224, 4 * 224, 3)
    cropped, masked = sheet[18:242], sheet[242:]
    changed = (cropped != masked).any(axis=2)
    assert 0.02 < changed.mean() < 0.35
    assert (masked[changed] == 0).all()


@pytest.mark.parametrize("name", ["logged", "taken_over"])
def test_wandb_gets_one_offline_run_with_continuous_steps(workshop, call, here, name):
    """Trained here, and taken over whole from the run before."""
    status, output, errors = call("train", *TRAIN, "seed=3", f"name={name}", "logger=wandb", "evaluate=false")
    assert status == 0, errors
    assert output.count("is reused from") == (3 if name == "taken_over" else 0)
    run = here / RUN.parent.parent / name / "seed_3"
    (file,) = (logged := OfflineRun(run)).files
    assert file.stem == f"run-{(run / 'wandb_id.txt').read_text()}"
    history = logged.history
    steps = history["trainer/global_step"].dropna()
    assert steps.is_monotonic_increasing
    table = pd.read_csv(run / "metrics.csv")
    assert history["stage"].dropna().unique().tolist() == [1, 2, 3]
    epochs = history.dropna(subset="validation/loss")
    np.testing.assert_allclose(epochs["validation/loss"], table["validation/loss"], rtol=1e-6)
    assert steps.max() == table["step"].max() - 1  # Lightning counts from 0


def test_variables_of_another_job_and_a_plain_terminal_change_nothing(trained, workshop):
    """Rank variables that are left over, and an encoding without box characters."""
    left_over = {"LOCAL_RANK": "1", "RANK": "1", "SLURM_PROCID": "1", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-m", "deepfake_ms.train", *TRAIN, "seed=2", "optimization.epochs=3", "hydra.job.chdir=true"],
        cwd=workshop,
        env={**os.environ, "OMP_NUM_THREADS": "1", **left_over},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert "Scores on test" in done.stdout
    assert (workshop / RUN.parent / "seed_2" / "evaluation/test/selected/scores.json").is_file()


def test_a_sweep_variable_without_a_run_is_one_sentence(trained, call, here, monkeypatch):
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    status, _, errors = call("train", *TRAIN, "logger=wandb", "name=without_run", "evaluate=false")
    assert status == 2
    assert errors.startswith("error: WANDB_SWEEP_ID is set but WANDB_RUN_ID is not")


def test_wandb_that_does_not_start_is_one_sentence(trained, call, here, monkeypatch):
    def refuse(**_):
        raise ValueError("mode must be online")

    monkeypatch.setattr("wandb.init", refuse)
    status, _, errors = call("train", *TRAIN, "logger=wandb", "name=does_not_start", "evaluate=false")
    assert status == 2
    assert errors.startswith("error: Weights & Biases does not start (mode must be online)")


@pytest.mark.parametrize("variable", [("WANDB_MODE", "disabled"), ("WANDB_DISABLED", "true")])
def test_wandb_can_be_disabled_by_its_variables(trained, call, here, monkeypatch, variable):
    monkeypatch.setenv(*variable)
    status, _, errors = call("train", *TRAIN, "logger=wandb", "name=without_wandb", "evaluate=false")
    assert status == 0, errors
    assert not list((here / RUN.parents[1] / "without_wandb").rglob("wandb*"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("data.root=null",), "data.root=None: give the corpus's folder"),
        (("data.root=5",), "data.root=5: give the corpus's folder"),
        (("prepared=nowhere",), "nowhere is not a complete folder of prepared faces"),
        (("seed=first",), "seed=first: give a whole number"),
        (("trainer.num_workers=auto",), "trainer.num_workers=auto: give a whole number"),
        (("trainer=gpu",), "trainer.lightning: Lightning rejects"),
        (("trainer.lightning.precision=17",), "Precision 17 is invalid"),
        (("trainer.lightning.devices=some",), "trainer.lightning"),
        (("trainer.lightning.devices=2",), "set trainer.lightning.strategy=ddp"),
        (("runs_root=corpora/miniature/List_of_testing_videos.txt",), "cannot be used"),
        (("mask.regions.eyes.width=-1", "curriculum=masked_cropped_masked"), "must be positive"),
    ],
)
def test_a_mistake_is_one_sentence_and_claims_no_folder(trained, call, here, arguments, sentence):
    status, _, errors = call("train", *TRAIN[1:], "name=mistake", *arguments)
    assert status == 2
    assert errors.startswith("error: ")
    assert sentence in errors
    assert "Traceback" not in errors
    assert not list(here.glob("runs/*/*/mistake/*/run.json"))


@pytest.mark.parametrize("precision", ["bf16-true", "64-true", "bf16-mixed"])
def test_other_precisions_train_and_are_scored_in_32_bit(trained, call, here, precision):
    options = (f"trainer.lightning.precision={precision}", f"name={precision}", "model=resnet50")
    status, _, errors = call("train", *TRAIN[1:], "optimization.epochs=1", *options)
    assert status == 0, errors
    (scores,) = here.glob(f"runs/miniature/resnet50_small/{precision}/seed_0/evaluation/test/selected/scores.json")
    assert json.loads(scores.read_text())["predicted_by"]["precision"] == "32-true"


def test_faces_prepared_elsewhere_are_trained_on_without_the_videos(trained, workshop, call, tmp_path):
    prepared = shutil.copytree(next((workshop / "prepared").glob("miniature-*")), tmp_path / "faces")
    common = ("train", *TRAIN[1:], "optimization.epochs=1", "model=resnet50")
    status, _, errors = call(*common, "data=celebdf_v2", f"prepared={prepared}")
    assert status == 0, errors
    (run,) = tmp_path.glob("runs/*/resnet50_small/*/seed_0")
    moved = shutil.move(run, tmp_path / "moved")
    (tmp_path / "prepared").mkdir()
    shutil.move(prepared, tmp_path / "prepared" / next((workshop / "prepared").glob("miniature-*")).name)
    shutil.rmtree(moved / "evaluation")
    status, printed, errors = call("evaluate", f"run={moved}")
    assert status == 0, errors
    assert "Scores on test" in printed


@pytest.mark.parametrize(
    "processes",
    [("trainer.num_workers=1",), ("trainer.lightning.devices=2", "trainer.lightning.strategy=ddp")],
    ids=["in a loader worker", "in one of two processes"],
)
def test_a_damaged_crop_is_one_sentence(workshop, tmp_path, processes):
    """The first crop is whole: the dataset reads its size before it starts."""
    prepared = Path(shutil.copytree(next((workshop / "prepared").glob("miniature-*")), tmp_path / "faces"))
    for crop in read_manifest(prepared)["crop"][1:]:
        (prepared / crop).write_bytes(b"damaged")
    done = subprocess.run(
        [sys.executable, "-m", "deepfake_ms.train", *TRAIN, f"prepared={prepared}", *processes],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert re.search(r"^error: \S+ cannot be read as an image: delete \S+faces and prepare", done.stderr, re.MULTILINE)


@pytest.mark.parametrize("missing", ["real", "fake"])
def test_one_class_only_is_refused(workshop, tmp_path, call, missing):
    faces = read_manifest(next((workshop / "prepared").glob("miniature-*")))
    kept = faces[faces["label"] != missing].head(4)
    folder = tmp_path / "faces" / kept["label"].iloc[0]
    folder.mkdir(parents=True)
    for number, crop in enumerate(kept["crop"]):
        shutil.copy(next((workshop / "prepared").glob("miniature-*")) / crop, folder / f"person{number}_0.png")
    status, _, errors = call("prepare", "data=folder", f"data.root={tmp_path / 'faces'}", "workers=0")
    assert status == 2
    assert f"has no {missing} files" in errors


@pytest.fixture(scope="module")
def faceforensics(workshop, tmp_path_factory) -> Path:
    """The drawn videos in FaceForensics++'s layout: twelve sequences, each also with the next one's face."""
    root = tmp_path_factory.mktemp("faceforensics")
    real, fake = (
        sorted((workshop / "corpora" / "miniature" / name).glob("*.mp4")) for name in ("Celeb-real", "Celeb-synthesis")
    )
    originals = root / "original_sequences" / "youtube" / "c23" / "videos"
    swaps = root / "manipulated_sequences" / "Deepfakes" / "c23" / "videos"
    for folder in (originals, swaps, root / "splits"):
        folder.mkdir(parents=True)
    pairs = [(number, number ^ 1) for number in range(12)]
    for target, donor in pairs:
        shutil.copy(real[target], originals / f"{target:03d}.mp4")
        shutil.copy(fake[target], swaps / f"{target:03d}_{donor:03d}.mp4")
    for name, sequences in (("train", range(0, 8, 2)), ("val", (8,)), ("test", (10,))):
        listed = [[f"{number:03d}", f"{number + 1:03d}"] for number in sequences]
        (root / "splits" / f"{name}.json").write_text(json.dumps(listed))
    return root


def test_another_corpus_goes_the_same_way_with_its_official_subsets(faceforensics, call, tmp_path):
    data = ("data=faceforensics", f"data.root={faceforensics}")
    status, output, errors = call("prepare", *data, "workers=0")
    assert status == 0, errors
    assert "faceforensics_c23-" in output
    status, output, errors = call(
        "train",
        *data,
        "split=official",
        *TRAIN[1:],
        "optimization.epochs=1",
        "split.require_disjoint=[videos,identities]",
    )
    assert status == 0, errors
    (run,) = tmp_path.glob("runs/faceforensics_c23/*/*/seed_0")
    audit = json.loads((run / "split_audit.json").read_text())
    assert {subset: audit["subsets"][subset]["videos"] for subset in audit["subsets"]} == {
        "train": 16,
        "validation": 4,
        "test": 4,
        "unused": 0,
    }
    assert (run / "evaluation" / "test" / "selected" / "scores.json").is_file()


def test_shards_through_multirun_make_one_folder(faceforensics, call, tmp_path):
    data = ("data=faceforensics", f"data.root={faceforensics}", "workers=0")
    status, _, errors = call("prepare", *data, "merge=true")
    assert status == 2
    assert "24 of 24 videos are not prepared" in errors
    status, output, errors = call("prepare", "-m", *data, "shard=1/2,2/2")
    assert status == 0, errors
    assert "Shard 1/2 is done; 12 videos remain for the other shards" in output
    assert "faces kept" in output
    assert call("prepare", *data, "merge=true")[0] == 0


def test_a_slurm_cluster_can_run_the_shards(capsys, monkeypatch):
    """Composed only: there is no cluster here."""
    arguments = ["hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=60", "shard=1/2", "--cfg", "hydra"]
    monkeypatch.setattr(sys, "argv", ["deepfake_ms/prepare.py", *arguments])
    importlib.import_module("deepfake_ms.prepare").main()
    launcher = OmegaConf.create(capsys.readouterr().out).hydra.launcher
    assert launcher._target_.endswith("SlurmLauncher")
    assert launcher.timeout_min == 60


@pytest.mark.slow
def test_shards_run_as_submitted_jobs(faceforensics, tmp_path):
    """With submitit's launcher for this machine, which starts the jobs at the same time."""
    command = [sys.executable, "-m", "deepfake_ms.prepare", "-m", "hydra/launcher=submitit_local"]
    data = ["data=faceforensics", f"data.root={faceforensics}", "workers=0", "shard=1/2,2/2"]
    subprocess.run([*command, *data], cwd=tmp_path, check=True, timeout=200)
    (folder,) = (tmp_path / "prepared").glob("faceforensics_c23-*")
    assert read_manifest(folder)["video_id"].nunique() == 24
