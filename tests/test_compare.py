"""The commands `deepfake-ms compare` and `deepfake-ms scores`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from score_tables import scores

from deepfake_ms.compare import protocol_notes
from deepfake_ms.score_files.contract import write_scores
from deepfake_ms.score_files.importers import read_scores


@pytest.fixture
def files(tmp_path):
    """Score files of three detectors; the last one lacks a video."""
    for draw, name in enumerate(("a", "b", "c")):
        table = scores(draw)
        write_scores(table if name != "c" else table[table["video"] != "Celeb-real/id0_0000"], tmp_path / f"{name}.csv")


def test_runs_that_were_tested_in_different_ways_are_told_apart(tmp_path):
    card = {"training": "one", "test": "dfd 12, all its videos", "frames": "1 per second", "crop": "MTCNN, 224 px"}
    for name, changes in (("a", {}), ("b", {"training": "two"}), ("c", {"frames": "32 evenly spaced per video"})):
        path = tmp_path / name / "evaluation/dfd/selected/scores.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"protocol_card": {**card, **changes}}))
    runs = [tmp_path / name for name in "abc"]
    assert protocol_notes(runs[:2]) == [], "that detectors differ in training is what is compared"
    assert protocol_notes(runs) == [
        f"{runs[0]} (here) and {runs[2]} (there) were tested on dfd in different ways: frames: 1 per second here, "
        "32 evenly spaced per video there."
    ]
    assert protocol_notes([tmp_path / "no_run.csv", runs[0]]) == []


def test_the_installed_command(tmp_path, files):
    def run(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "deepfake_ms.cli", "compare", *arguments]
        environment = os.environ | {"COLUMNS": "160", "PYTHONPATH": str(Path(__file__).parents[1])}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)

    done = run("a.csv", "b.csv", "--csv", "out.csv")
    assert done.returncode == 0, done.stderr
    assert "celeb · 8 real and 16 fake videos" in done.stdout
    assert "Holm: adjusted for 1 comparison." in done.stdout
    assert pd.read_csv(tmp_path / "out.csv")["detector"].tolist() == ["a.csv", "b.csv"]
    refused = run("a.csv", "c.csv")
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: a.csv and c.csv score different videos of test set celeb")
    assert "Traceback" not in refused.stderr
    shown = run("--help")
    assert shown.returncode == 0
    assert shown.stdout.startswith("usage: deepfake-ms compare [-h]")


def test_what_is_left_out_is_said(call, files):
    status, shown, errors = call("compare", "a.csv", "b.csv", "c.csv", "--common", "--level", "frame")
    assert status == 0, errors
    assert "AUROC per frame" in shown
    assert "p DeLong" not in shown
    assert "DeLong's test needs independent scores and is given per video only." in shown
    assert "Compared on the 23 that all files have (7 real, 16 fake videos)." in shown
    assert "Differences are from a.csv." in shown


def test_brackets_in_names_are_printed(call, files, tmp_path):
    (tmp_path / "a.csv").rename(tmp_path / "[red]a.csv")
    write_scores(scores(1, test_set="t [x]"), tmp_path / "b.csv")
    call("scores", "[red]a.csv", "[red]a.csv", "--test-set", "t [x]")
    status, shown, errors = call("compare", "[red]a.csv", "b.csv")
    assert status == 0, errors
    assert "t [x] · 8 real" in shown
    assert "│ [red]a.csv" in shown


def test_another_metric(call, files):
    status, shown, errors = call("compare", "a.csv", "b.csv", "--metric", "eer")
    assert status == 0, errors
    assert "EER per video" in shown


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("a.csv",), "the following arguments are required: FILE"),
        (("a.csv", "./a.csv"), "error: a.csv is given twice: name each detector's scores once."),
        (("a.csv", "nowhere.csv"), "error: nowhere.csv does not exist: name a score file or the folder"),
        (("a.csv", "b.csv", "--level", "clip"), "invalid choice: 'clip'"),
    ],
)
def test_mistakes_are_one_sentence(call, files, arguments, sentence):
    status, _, errors = call("compare", *arguments)
    assert status == 2
    assert sentence in errors


@pytest.mark.parametrize("name", ["new.csv", "new.parquet"])
def test_scores_are_written_and_renamed(call, files, name):
    status, shown, errors = call("scores", "a.csv", name, "--test-set", "Celeb-DF-v2")
    assert status == 0, errors
    assert shown == f"{name}: 96 scores of 24 videos\n"
    pd.testing.assert_frame_equal(read_scores(Path(name)), scores(test_set="Celeb-DF-v2"))


def test_a_new_name_does_not_hide_that_faces_are_drawn(call, tmp_path):
    write_scores(scores(test_set="test (SYNTHETIC)"), tmp_path / "drawn.csv")
    call("scores", "drawn.csv", "new.csv", "--test-set", "CDFv2")
    assert read_scores(tmp_path / "new.csv")["test_set"].unique().tolist() == ["CDFv2 (SYNTHETIC)"]


def test_one_name_for_two_test_sets_is_refused(call, files, tmp_path):
    write_scores(pd.concat([scores(), scores(test_set="dfdc")], ignore_index=True), tmp_path / "two.csv")
    status, _, errors = call("scores", "two.csv", "new.csv", "--test-set", "x")
    assert status == 2
    assert "two.csv has several test sets, celeb, dfdc: --test-set can name only one." in errors
