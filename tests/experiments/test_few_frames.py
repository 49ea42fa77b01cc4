"""Decisions on the first frames of videos, from the predictions of evaluated runs."""

import json

import pandas as pd
import pytest

from experiments.abstention.few_frames import ALL, cut, main

PREDICTIONS = pd.DataFrame(
    {
        "video_id": ["a", "a", "a", "b", "b", "b", "c"],
        "label": [1, 1, 1, 0, 0, 0, 0],
        # At .5: a is fake on 1 frame and on all, real on 2; b is fake on 1, real from 2 on; c has one frame only.
        "fake_probability": [0.6, 0.2, 0.9, 0.8, 0.1, 0.1, 0.7],
    }
)


def test_wrong_and_changed_decisions():
    found = cut(PREDICTIONS, 0.5, (1, 2)).set_index("frames")
    assert found.loc[1, ["wrong", "changed"]].tolist() == pytest.approx([2 / 3, 1 / 3])
    assert found.loc[2, ["wrong", "changed"]].tolist() == pytest.approx([2 / 3, 1 / 3])
    assert found.loc[ALL, ["wrong", "changed"]].tolist() == pytest.approx([1 / 3, 0])
    assert (found["videos"] == 3).all()


def write_result(run, test_set, **changes):
    folder = run / "evaluation" / test_set / "selected"
    folder.mkdir(parents=True)
    scores = {"test_set": test_set, "own": test_set == "test", "metrics": {}, "perturbation": None}
    scores |= {"validation_thresholds": {"video": 0.5}, "data": {"synthetic": True}, "test_data": {"synthetic": True}}
    (folder / "scores.json").write_text(json.dumps({k: v for k, v in (scores | changes).items() if v != "left out"}))
    PREDICTIONS.to_parquet(folder / "predictions.parquet")


def test_the_program_reads_labelled_test_sets_that_are_not_perturbed(tmp_path, capsys):
    for seed in (0, 1):
        run = tmp_path / "runs" / "row" / f"seed_{seed}"
        write_result(run, "test")
        write_result(run, "validation")
        write_result(run, "test_jpeg_3", perturbation={"name": "jpeg"})
        write_result(run, "test_jpeg", perturbation="left out")  # of an earlier version
        write_result(run, "folder", metrics="left out")  # without labels
        write_result(run, "no_threshold", validation_thresholds={"video": None})
    main(["--runs", str(tmp_path / "runs"), "--output", str(tmp_path / "out")])
    table = pd.read_csv(tmp_path / "out" / "few_frames_SYNTHETIC.csv")
    assert set(table["faces"]) == {"own test set"}
    assert set(table["runs"]) == {2}
    assert table["frames"].tolist() == ["1", "2", "3", ALL]
    assert "| own test set | 2 | 3 | 1 | 66.7 ± 0.0 | 33.3 ± 0.0 |" in capsys.readouterr().out


def test_a_folder_without_evaluated_runs(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--runs", str(tmp_path), "--output", str(tmp_path / "out")])
    assert "contains no evaluated run" in " ".join(capsys.readouterr().err.split())
