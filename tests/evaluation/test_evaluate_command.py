"""``deepfake-ms evaluate`` on other corpora: they are found by name, several at once, and by a suite."""

import json
import os
import shutil
import subprocess
import sys
import time

import pandas as pd
import pytest
from foreign import Video, add_corpus
from offline_wandb import OfflineRun

from deepfake_ms.preprocessing.settings import PreparationSettings

VIDEOS = [Video("a", "real", subset="test"), Video("b", "fake", subset="test"), Video("c", "fake")]


@pytest.fixture
def prepared(tmp_path):
    """A folder with the faces of three corpora, prepared like those of the tiny runs."""
    for name, options in (("celebdf_v1", {}), ("celebdf_v2", {}), ("dfd_c23", {"compression": "c23"})):
        add_corpus(tmp_path / "prepared", name, VIDEOS, options)
    return tmp_path / "prepared"


def test_a_corpus_is_found_by_its_name(run, prepared, call):
    status, printed, errors = call("evaluate", f"run={run.folder}", "test_set=celebdf_v2", f"prepared_root={prepared}")
    assert status == 0, errors
    assert "Scores on celebdf_v2" in printed
    scores = json.loads((run.folder / "evaluation/celebdf_v2/selected/scores.json").read_text())
    assert scores["test_data"]["fingerprint"] == "celebdf_v2"
    assert scores["protocol_card"]["test"].endswith("its test list")
    assert scores["videos"] == 2


def test_several_corpora_at_once(run, prepared, call):
    chosen = "test_sets=[test,celebdf_v1,{celebdf_v2: all},dfd]"
    status, printed, errors = call("evaluate", f"run={run.folder}", chosen, f"prepared_root={prepared}")
    assert status == 0, errors
    assert "All test sets, per video" in printed
    folders = {path.name for path in (run.folder / "evaluation").iterdir()}
    assert folders == {"test", "validation", "celebdf_v1", "celebdf_v2_all", "dfd_c23"}
    videos = {
        name: json.loads((run.folder / f"evaluation/{name}/selected/scores.json").read_text())["videos"]
        for name in ("celebdf_v1", "celebdf_v2_all", "dfd_c23")
    }
    assert videos == {"celebdf_v1": 2, "celebdf_v2_all": 3, "dfd_c23": 2}


@pytest.mark.slow
def test_two_processes_score_other_corpora_like_one(run, tmp_path):
    """Of an odd number of videos, and with a video that has no face."""
    videos = [Video(name, label) for name, label in zip("abcde", ["real", "fake"] * 3, strict=False)]
    add_corpus(tmp_path / "prepared", "celebdf_v1", [*videos, Video("f", "fake", problem="no face")])
    add_corpus(tmp_path / "prepared", "dfdcp", videos[:3])
    scored = []
    for processes in ((), ("trainer.lightning.devices=2", "trainer.lightning.strategy=ddp")):
        done = subprocess.run(
            [
                *(sys.executable, "-m", "deepfake_ms.evaluate", f"run={run.folder}", "test_sets=[celebdf_v1,dfdcp]"),
                *(f"prepared_root={tmp_path / 'prepared'}", *processes),
            ],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr
        folders = [run.folder / "evaluation" / name / "selected" for name in ("celebdf_v1", "dfdcp")]
        scored.append([(folder / "videos.csv").read_text() for folder in folders])
        scored[-1] += [json.loads((folder / "scores.json").read_text())["metrics"] for folder in folders]
        shutil.rmtree(run.folder / "evaluation")
    assert scored[0] == scored[1]
    assert scored[0][0].count("\n") == 7  # a header and six videos
    log = (run.folder / "test_evaluations.jsonl").read_text().splitlines()
    assert [json.loads(line)["test_set"] for line in log] == ["celebdf_v1", "dfdcp"] * 2


def test_faces_that_are_not_prepared_are_named(run, prepared, call):
    status, _, errors = call("evaluate", f"run={run.folder}", "test_set=dfdc", f"prepared_root={prepared}")
    assert status == 2
    assert "has no prepared faces of dfdc" in errors
    assert "run `deepfake-ms prepare`" in errors


def test_a_suite_tests_the_runs_own_videos_in_other_crops(run, prepared, call):
    """Only its test videos: the corpus has no list, and all others were trained on."""
    manifest = run.faces.manifest
    tested = sorted(manifest["video_id"].iloc[run.rows("test")].unique())
    labels = dict(zip(manifest["video_id"], manifest["label"], strict=True))
    videos = [Video(name, label) for name, label in sorted(labels.items())]
    wide = PreparationSettings(margin=0.3, offset=0, edge="black", enlarge="cubic", face="tracked")
    add_corpus(prepared, "tiny", videos, settings=wide)
    chosen = "test_sets=[test,{own: {preparation: wide}}]"
    status, printed, errors = call("evaluate", f"run={run.folder}", chosen, f"prepared_root={prepared}")
    assert status == 0, errors
    assert "trained on 1 per second, MTCNN, largest face, 0.8 times the box" in printed
    scored = pd.read_csv(run.folder / "evaluation/test_wide/selected/videos.csv")
    assert scored["video_id"].tolist() == tested


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("test_sets=[test,test]",), "test_sets names test twice: name each test set once."),
        (("test_sets=[{dfd: {crops: wide}}]",), "test_sets: dfd has no setting crops: set videos or preparation."),
        (("test_sets=[{own: {preparation: wid}}]",), "preparation of own=wid: there is no conf/preparation/wid.yaml."),
        (("test_sets=[{dfd: all, celebdf_v1: all}]",), "names 2 test sets: write each in braces of its own."),
        (("test_set=test", "videos=all"), "use test_sets=[{own: {preparation: wide}}]."),
        (("missing=no",), "choose from as_real, as_fake, chance, excluded."),
        (("test_set=dfd", "data.options.methods=[a]"), "data.options: dfd has no option methods; it has compression."),
        (("test_set=union",), "name the corpora one by one, in test_sets=[...]."),
        (("test_set=celebdf_v1", "videos=some"), "videos=some is unknown: choose from auto, test, all."),
        (
            ("test_set=celebdf_v1", "missing=no"),
            "missing=no is unknown: choose from as_real, as_fake, chance, excluded.",
        ),
    ],
)
def test_wrong_test_sets_are_one_sentence(run, prepared, call, arguments, sentence):
    status, _, errors = call("evaluate", f"run={run.folder}", f"prepared_root={prepared}", *arguments)
    assert (status, errors.count("\n")) == (2, 1), errors
    assert errors.endswith(f"{sentence}\n")
    assert not (run.folder / "evaluation").exists()


def test_weights_and_biases_has_every_test_set(run, prepared, call):
    chosen = "test_sets=[test,celebdf_v1]"
    status, _, errors = call("evaluate", f"run={run.folder}", chosen, f"prepared_root={prepared}", "logger=wandb")
    assert status == 0, errors
    scores = json.loads((run.folder / "evaluation/celebdf_v1/selected/scores.json").read_text())
    key = "celebdf_v1/video/auroc"
    end = time.monotonic() + 30
    while key not in (logged := OfflineRun(run.folder / "evaluation")).summary and time.monotonic() < end:
        time.sleep(0.1)  # W&B's own process writes the last records after the run has finished
    assert logged.summary[key] == scores["metrics"]["video"]["auroc"]
    assert "test/video/at_validation_threshold/balanced_accuracy" in logged.summary


def test_the_faces_that_a_run_was_trained_on_give_its_own_test_set(run, prepared, call):
    """Otherwise the training faces of a corpus without a list would be tested."""
    (folder,) = prepared.glob("celebdf_v1-*")
    (folder / "manifest.parquet").write_bytes((run.faces.folder / "manifest.parquet").read_bytes())
    status, printed, errors = call("evaluate", f"run={run.folder}", "test_set=celebdf_v1", f"prepared_root={prepared}")
    assert status == 0, errors
    assert "Scores on test " in printed


@pytest.mark.parametrize(
    ("data", "test_set"),
    [("celebdf_v2", "test_set=celebdf_v2"), ("[celebdf_v2,dfd]", "test_sets=[celebdf_v2,dfd]")],
)
def test_corpora_are_test_sets_not_data(call, data, test_set):
    status, _, errors = call("evaluate", "run=somewhere", f"data={data}")
    assert (status, errors) == (2, f"error: data={data}: evaluate takes corpora as {test_set}.\n")
