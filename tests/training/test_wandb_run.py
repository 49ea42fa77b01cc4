"""What W&B gets of a run, read back from the files of offline runs: no network, no login."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny_run
import wandb
from offline_wandb import OfflineRun

from deepfake_ms.errors import UserError
from deepfake_ms.scoring.metrics import choose_thresholds, score_table
from deepfake_ms.training.stage_chain import read_chain
from deepfake_ms.training.wandb_run import WandbRun

SETTINGS = {"project": "tests", "group": "base", "offline": True, "log_checkpoints": True}
RECORD = {
    "config": tiny_run.config(),
    "synthetic": True,
    "code": "deepfake_ms 0.1.0 (0123456789)",
    "libraries": {"torch": "2"},
    "manifest_sha256": "0" * 64,
}
STAGES = tiny_run.STAGES
ARTIFACTS = [f"tiny-small-base-seed0-{stage}" for stage in STAGES]


def make_log(run: Path, **settings) -> WandbRun:
    return WandbRun(run, SETTINGS | settings, RECORD, hardware={"accelerator": "cpu"})


def train(run: Path, prepared: Path, log: WandbRun, kill_at: int | None = None) -> None:
    tiny_run.train(run, prepared, kill=(0, kill_at) if kill_at else None, report=log.catch_up)


def evaluate(log: WandbRun) -> None:
    """Scores and predictions as the evaluation gives them."""
    random = np.random.default_rng(0)
    labels = np.arange(40) % 2
    predictions = {
        subset: pd.DataFrame(
            {
                "sample_id": [f"{number:03d}" for number in range(40)],
                "video_id": [f"video{number // 4 * 2 + number % 2}" for number in range(40)],
                "label": labels,
                "method": np.where(labels, "noise", "real"),
                "fake_probability": (0.3 * labels + 0.7 * random.random(40)).astype(np.float32),
            }
        )
        for subset in ("validation", "test")
    }
    thresholds = choose_thresholds(predictions["validation"])
    chosen = score_table(predictions["test"], thresholds)
    scores = {
        "checkpoint_sha256": "1" * 64,
        "protocol": "test set of split identity",
        "validation_thresholds": thresholds,
        "metrics": score_table(predictions["test"]) | {"video": {"auroc": 0.5, "eer": None}},
        "metrics_at_validation_thresholds": {level: {"accuracy": chosen[level]["accuracy"]} for level in chosen},
    }
    log.log_scores(scores, predictions)


@pytest.fixture(scope="module", autouse=True)
def private_wandb(tmp_path_factory):
    """No traces in the user's folders, and no login of theirs."""
    with pytest.MonkeyPatch.context() as patch:
        for kind in ("DATA", "CACHE", "CONFIG"):
            patch.setenv(f"WANDB_{kind}_DIR", str(tmp_path_factory.mktemp(f"wandb_{kind.lower()}")))
        patch.setenv("NETRC", str(tmp_path_factory.mktemp("home") / "netrc"))
        for name in ("WANDB_API_KEY", "WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_MODE", "WANDB_DIR"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    return tiny_run.write_faces(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, prepared) -> Path:
    """A run that was trained, scored and logged without an interruption."""
    run = tmp_path_factory.mktemp("runs") / "base" / "seed_0"
    log = make_log(run)
    train(run, prepared, log)
    evaluate(log)
    log.finish()
    return run


def check_history(logged: OfflineRun, run: Path) -> None:
    table = pd.read_csv(run / "metrics.csv")
    epochs = logged.history.dropna(subset="validation/loss")
    assert epochs["trainer/global_step"].tolist() == (table["step"] - 1).tolist()
    for name in ("validation/loss", "validation/auroc", "learning_rate", "epoch"):
        np.testing.assert_allclose(epochs[name], table[name], rtol=1e-9)
    assert logged.history["_step"].is_unique
    assert logged.history["_step"].is_monotonic_increasing
    assert epochs["stage"].tolist() == [STAGES.index(stage) + 1 for stage in table["stage"]]
    borders = logged.history.dropna(subset="stage").drop_duplicates("stage")
    assert borders["stage"].tolist() == [1, 2, 3]
    first_steps = np.cumsum([0] + [handoff.steps for handoff in read_chain(run)])[:-1]
    assert borders["trainer/global_step"].tolist() == first_steps.tolist()


def test_history_is_continuous_and_says_where_stages_begin(finished):
    check_history(OfflineRun(finished), finished)


def test_the_run_is_named_grouped_tagged_and_has_the_whole_configuration(finished):
    logged = OfflineRun(finished)
    assert (logged.run.run_group, logged.run.job_type, logged.run.display_name) == ("base", "train", "base/seed_0")
    expected = {"tiny", "small", "weighted", "random_flips", "masked_cropped_masked", "synthetic"}
    assert set(logged.run.tags) == expected
    assert f"SYNTHETIC data: tiny {RECORD['config']['data']['fingerprint']}" in logged.run.notes
    assert {name: logged.config[name] for name in RECORD["config"]} == RECORD["config"]
    assert logged.config["curriculum"]["stages"][1]["optimizer"]["name"] == "AdamW"
    assert logged.config["hardware"] == {"accelerator": "cpu"}
    assert logged.config["provenance"]["code"] == RECORD["code"]
    assert logged.config["protocol"] == "test set of split identity"


def test_the_summary_has_handoffs_best_value_and_scores(finished):
    summary = OfflineRun(finished).summary
    chain = read_chain(finished)
    assert [summary[f"handoff/{handoff.stage}/score"] for handoff in chain] == [handoff.score for handoff in chain]
    assert summary["handoff/score"] == chain[-1].score
    table = pd.read_csv(finished / "metrics.csv")
    assert summary["best/validation/loss"] == pytest.approx(table["validation/loss"].min())
    for subset in ("test", "validation"):
        assert 0.5 < summary[f"{subset}/frame/auroc"] <= 1
    assert summary["test/video/auroc"] == 0.5
    assert "test/video/eer" not in summary  # not defined there
    assert 0 <= summary["test/video/at_validation_threshold/accuracy"] <= 1
    assert 0 < summary["validation/video/threshold"] < 1


def test_predictions_are_a_table_beside_roc_and_confusion_matrix(finished):
    logged = OfflineRun(finished)
    table = logged.table("test/predictions")
    assert table.columns.tolist() == ["sample_id", "video_id", "method", "label", "fake_probability"]
    assert len(table) == 40
    assert set(table["label"]) == {"real", "fake"}
    assert logged.table("test/confusion_table")["nPredictions"].sum() == 40
    curve = logged.table("test/roc_table")
    assert curve.iloc[0].tolist() == [0, 0]
    assert curve.iloc[-1].tolist() == [1, 1]


def test_artifacts_follow_the_stage_chain(finished):
    """Each refers to an entry of the one before, which W&B shows as its lineage, offline too."""
    logged = OfflineRun(finished)
    names = ["tiny-faces", *ARTIFACTS]
    assert [name for name in logged.artifacts if not name.startswith("run-")] == names
    ids = {name: logged.artifacts[name].client_id for name in names}
    for number, handoff in enumerate(read_chain(finished)):
        name = ARTIFACTS[number]
        contents = logged.contents(name)
        assert logged.artifacts[name].type == "model"
        assert contents["inputs/faces.table.json"].ref.startswith(f"wandb-client-artifact://{ids['tiny-faces']}/")
        if number:
            parent = contents["inputs/parent.table.json"].ref
            assert parent.startswith(f"wandb-client-artifact://{ids[ARTIFACTS[number - 1]]}/")
        else:
            assert "inputs/parent.table.json" not in contents
        assert Path(contents["best.ckpt"].local_path) == (finished / handoff.checkpoint).resolve()
        metadata = json.loads(logged.artifacts[name].metadata)
        assert metadata["sha256"] == handoff.sha256
        assert (metadata["stage"], metadata["steps"], metadata["score"]) == (
            handoff.stage,
            handoff.steps,
            handoff.score,
        )
        assert metadata["trained_by"].startswith("deepfake_ms ")
        assert metadata["parent"] == (ARTIFACTS[number - 1] if number else None)
    assert json.loads(logged.artifacts["tiny-faces"].metadata)["fingerprint"] == RECORD["config"]["data"]["fingerprint"]
    assert list(logged.contents("tiny-faces")) == ["faces.table.json"]  # no faces in it


def test_a_finished_run_started_again_logs_nothing(finished, prepared):
    def files() -> dict:
        # W&B's own process may still write its debug log after the run has finished.
        found = (path for path in sorted(finished.rglob("*")) if path.is_file() and path.parent.name != "logs")
        return {path: path.stat().st_mtime_ns for path in found}

    before = files()
    log = make_log(finished)
    train(finished, prepared, log)
    evaluate(log)
    log.finish()
    after = files()
    assert {path for path in after if after[path] != before.get(path)} <= {finished / "wandb_id.txt"}
    assert before.keys() == after.keys()


def test_a_killed_and_resumed_run_stays_one_run(tmp_path, prepared, finished):
    """Killed in the third stage."""
    run = tmp_path / "base" / "seed_0"
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}  # it has its own
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(tiny_run.__file__).parent), os.environ.get("PYTHONPATH", "")])
    killed = subprocess.run([sys.executable, __file__, run, prepared, "75"], env=environment, timeout=200)
    assert killed.returncode == -signal.SIGKILL
    assert len(read_chain(run)) == 2
    identifier = (run / "wandb_id.txt").read_text()
    before = OfflineRun(run).files
    assert len(before) == 1
    log = make_log(run)
    train(run, prepared, log)
    evaluate(log)
    log.finish()
    logged = OfflineRun(run)
    assert len(logged.files) == 1  # nothing for `wandb sync` to put together
    assert logged.files != before
    assert logged.run.run_id == identifier == (run / "wandb_id.txt").read_text()
    check_history(logged, run)
    whole = OfflineRun(finished)
    np.testing.assert_array_equal(logged.history["validation/loss"].dropna(), whole.history["validation/loss"].dropna())
    assert list(logged.artifacts)[1:4] == ARTIFACTS


def test_scores_may_come_later(tmp_path, finished, prepared):
    run = tmp_path / "base" / "seed_0"
    log = make_log(run)
    train(run, prepared, log)
    log.finish()
    assert "test/frame/auroc" not in OfflineRun(run).summary
    log = make_log(run)
    train(run, prepared, log)
    evaluate(log)
    log.finish()
    logged = OfflineRun(run)
    assert len(logged.files) == 1
    assert logged.summary["test/frame/auroc"] == OfflineRun(finished).summary["test/frame/auroc"]
    check_history(logged, run)


def test_stages_that_another_run_has_trained_are_logged_whole(tmp_path, finished):
    """Nothing is trained here: the files are all that is needed."""
    run = tmp_path / "other" / "seed_0"
    for name in ("metrics.csv", "chain.json"):
        run.mkdir(parents=True, exist_ok=True)
        (run / name).write_bytes((finished / name).read_bytes())
    log = make_log(run, log_checkpoints=False)
    log.note_taken_over(dict.fromkeys(STAGES[:2], "runs/tiny/small/base/seed_0"))
    log.catch_up()
    log.finish()
    logged = OfflineRun(run)
    check_history(logged, run)
    names = [f"tiny-small-other-seed0-{stage}" for stage in STAGES]
    sources = [json.loads(logged.artifacts[name].metadata)["taken_over_from"] for name in names]
    assert sources == ["tiny/small/base/seed_0"] * 2 + [None]
    assert not [path for name in names for path in logged.contents(name) if path.endswith(".ckpt")]


class ResumedRun:
    """Stands for an online run that W&B has up to a step."""

    def __init__(self, step: int, folder: Path):
        self.step, self.dir, self.config, self.summary, self.rows = step, str(folder / "files"), wandb.Config(), {}, []

    def log(self, row: dict, step: int | None = None, commit: bool | None = None) -> None:
        self.rows.append(row)
        self.step = self.step if step is None else step + bool(commit)

    def define_metric(self, *_, **__) -> None: ...

    def log_artifact(self, artifact: wandb.Artifact, aliases: tuple = ()) -> None:
        artifact.finalize()


def test_an_online_run_is_told_only_what_it_lacks(tmp_path, finished, monkeypatch):
    table = pd.read_csv(finished / "metrics.csv")
    run = tmp_path / "base" / "seed_0"
    run.mkdir(parents=True)
    (run / "metrics.csv").write_bytes((finished / "metrics.csv").read_bytes())
    (run / "wandb_id.txt").write_text("abcd1234")
    asked, known = {}, ResumedRun(int(table["step"].iloc[2]), tmp_path)
    monkeypatch.setattr(wandb, "login", lambda: True)
    monkeypatch.setattr(wandb, "init", lambda **arguments: asked.update(arguments) or known)
    make_log(run, offline=False).catch_up()
    assert (asked["id"], asked["mode"], asked["resume"]) == ("abcd1234", "online", "allow")
    epochs = [row["trainer/global_step"] + 1 for row in known.rows if "validation/loss" in row]
    assert epochs == table["step"].iloc[3:].tolist()


def test_in_a_sweep_the_run_is_the_agents(tmp_path, monkeypatch):
    run = tmp_path / "base" / "seed_0"
    first = make_log(run).id
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep")
    monkeypatch.setenv("WANDB_RUN_ID", "given")
    assert first != "given"
    assert make_log(run).id == (run / "wandb_id.txt").read_text() == "given"


def test_online_without_a_login_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"logger\.offline=false needs a Weights & Biases login: run `wandb login`"):
        make_log(tmp_path / "base" / "seed_0", offline=False)
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_did_not_open_the_run_logs_nothing(tmp_path):
    """As the ones that ddp_spawn starts."""
    log = make_log(tmp_path / "base" / "seed_0")
    copy = multiprocessing.reduction.ForkingPickler.loads(multiprocessing.reduction.ForkingPickler.dumps(log))
    copy.catch_up()
    assert not (tmp_path / "base" / "seed_0" / "wandb").exists()
    assert os.environ["WANDB_SILENT"] == "true"


if __name__ == "__main__":  # RUN PREPARED MOMENT: trains until it is killed
    folder, faces, moment = sys.argv[1:]
    train(Path(folder), Path(faces), make_log(Path(folder)), kill_at=int(moment))
