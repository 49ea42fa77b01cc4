"""Detectors on other corpora and under perturbations, on tiny runs: every number equals a computation of its own."""

import pandas as pd
import pytest
import tiny_run
from foreign import Video, add_corpus
from rich.console import Console
from sklearn.metrics import roc_auc_score

from deepfake_ms.evaluation.scores import evaluate
from deepfake_ms.evaluation.test_set import TestSet
from experiments.generalisation import __main__ as generalisation
from experiments.generalisation.page import Findings

VIDEOS = [
    *(Video(f"real{number}", "real", subset="test") for number in range(3)),
    *(Video(f"swap{number}", "fake", "swap", 60 + 100 * number, "test") for number in range(3)),
    Video("faceless", "fake", subset="test", problem="no face"),
]
CORPORA = ("miniature_shortcut", "miniature", "shift_people", "shift_artefacts", "shift_compression")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    root = tmp_path_factory.mktemp("generalisation")
    for name in CORPORA:
        add_corpus(root / "prepared", name, VIDEOS)
    faces = tiny_run.write_faces(root / "faces")
    runs = root / "runs" / "tiny" / "small"
    for row in ("table2_base", "table2_rf"):
        run = tiny_run.train(runs / row / "seed_0", faces, {**tiny_run.ONE_STAGE, "seed": 0})
        run.claim()
        evaluate(run, TestSet.of_run(run, "test"), tiny_run.trainer(), Console(quiet=True))
    arguments = ["--runs", str(runs), "--prepared-root", str(root / "prepared"), "--output", str(root / "output")]
    chosen = ["--perturbations", "jpeg", "deeperforensics_blockwise", "--levels", "1", "5", "--resamples", "50"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)  # away from the corpora of `make demo`
        generalisation.main([*arguments, *chosen, "--rows", "table2_base", "table2_rf"])
    return root


def test_the_matrix_has_every_detector_on_every_corpus(found):
    matrix = pd.read_csv(found / "output/matrix_SYNTHETIC.csv").fillna({"minus": ""})
    video = matrix[(matrix["level"] == "video")].set_index(["detector", "test_set", "minus"])["mean"]
    names = ("base, trained on tiny", "RF, trained on tiny")
    assert {key[:2] for key in video.index} == {(name, corpus) for name in names for corpus in CORPORA}
    predictions = pd.read_parquet(
        found / "runs/tiny/small/table2_rf/seed_0/evaluation/shift_people_all/selected/predictions.parquet"
    )
    videos = predictions.groupby("video_id").agg(label=("label", "first"), score=("fake_probability", "mean"))
    videos.loc["faceless"] = [1, 0.5]
    assert video[names[1], "shift_people", ""] == pytest.approx(roc_auc_score(videos["label"], videos["score"]))
    for corpus in CORPORA:
        difference = video[names[1], corpus, ""] - video[names[0], corpus, ""]
        assert video[names[1], corpus, names[0]] == pytest.approx(difference)
    points = pd.read_csv(found / "output/operating_points_SYNTHETIC.csv")
    assert points["coverage"].tolist() == pytest.approx([6 / 7] * 10)


def test_drops_are_measured_where_a_perturbation_changes_pixels(found):
    drops = pd.read_csv(found / "output/robustness_SYNTHETIC.csv").fillna({"minus": ""})
    assert set(drops["perturbation"]) == {"jpeg"}, "blocks change no face of 32 pixels"
    assert set(drops["level"]) == {1, 5}
    by_level = drops[drops["minus"] == ""].groupby("level")["mean_psnr"].first()
    assert by_level[1] > by_level[5] + 1


def test_the_page_has_both_figures_and_the_cards(found):
    page = (found / "output/generalisation_SYNTHETIC.html").read_text()
    assert page.count("<svg") == 2
    for part in ("Protocol cards", "its test list", "Operating points per video", "SYNTHETIC", "face size: 128 to 256"):
        assert part in page


def test_published_numbers_stand_beside_ours_with_what_differs(found):
    tables = {
        name: pd.read_csv(found / f"output/{name}_SYNTHETIC.csv").assign(test_set="celebdf_v2")
        for name in ("matrix", "operating_points", "groups", "robustness", "cards")
    }
    tables["matrix"] = tables["matrix"].fillna({"minus": ""})
    tables["robustness"] = tables["robustness"].fillna({"minus": ""})
    (table,) = [each for each in Findings(**tables).tables() if each.title.startswith("Published")]
    rows = {(row[0], row[2]): row for row in table.rows}
    assert rows["Xception", "frame"][3:5] == [".737", "DeepfakeBench README table"]
    assert "frames: 1 per second here, 32 evenly spaced per video there" in rows["Xception", "frame"][5]
    assert "Level" not in rows["Xception", "frame"][5]
    drawn = {**tables, "cards": tables["cards"].assign(test_set="shift_people")}
    assert not [each for each in Findings(**drawn).tables() if each.title.startswith("Published")]


def test_runs_that_are_not_there_are_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        generalisation.main(["--runs", str(tmp_path), "--output", str(tmp_path)])
    assert "contains no run of Table 2" in capsys.readouterr().err
