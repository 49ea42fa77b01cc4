"""The mechanism study: the groups of fakes, and the files that it writes."""

import json
from pathlib import Path

import pandas as pd
import pytest
from fake_runs import make_run

from deepfake_ms.errors import UserError
from experiments.mechanism import __main__ as mechanism
from experiments.mechanism import groups
from experiments.report.cells import SCORED


def write_corpus(folder: Path, eyes: dict[str, float]) -> Path:
    folder.mkdir()
    fakes = {f"{name}.mp4": {"eyes": strength, "seam": 0.5} for name, strength in eyes.items()}
    (folder / "corpus.json").write_text(json.dumps({"fakes": fakes}))
    return folder


def test_groups_share_the_real_faces_and_divide_the_fakes():
    predictions = pd.DataFrame({"video_id": ["r", "a", "b", "b"], "label": [0, 1, 1, 1]})
    eyes = {"a": True, "b": False}
    chosen = [groups.choose_group(predictions, eyes, group)["video_id"].tolist() for group in groups.GROUPS]
    assert chosen == [["r", "a", "b", "b"], ["r", "a"], ["r", "b", "b"]]
    with pytest.raises(UserError, match="The corpus has no fake b"):
        groups.choose_group(predictions, {"a": True}, groups.GROUPS[1])


def test_a_corpus_without_a_difference_is_refused(tmp_path):
    with pytest.raises(UserError, match="is missing: give the folder of a drawn corpus"):
        groups.read_eye_artefacts(tmp_path)
    corpus = write_corpus(tmp_path / "corpus", {"a": 1.0, "b": 0.3})
    with pytest.raises(UserError, match="eye_share_test below 1"):
        groups.read_eye_artefacts(corpus)


def test_rows_and_differences_are_written_with_their_groups(tmp_path, capsys):
    runs = tmp_path / "runs/drawn/tiny"
    for row, seen in (("base", (1, 3)), ("mep", ()), ("wl_rf", ()), ("mouth_mask", ())):
        folder = make_run(runs, row, 0)
        path = folder / SCORED / "predictions.parquet"
        faces = pd.read_parquet(path)
        number = faces["video_id"].str[1:].astype(int)
        faces["fake_probability"] = 0.2 + 0.1 * number.isin(seen) + 0.001 * (number % 5)
        faces.to_parquet(path)
    # Of the fakes v01, v03, ..., v11 the first two have the artefact, and only `base` detects them.
    eyes = {f"v{number:02}": float(number in (1, 3)) for number in range(1, 12, 2)}
    corpus = write_corpus(tmp_path / "corpus", eyes)
    options = ["--runs", str(runs), "--corpus", str(corpus), "--output", str(tmp_path), "--resamples", "100"]
    mechanism.main(options)
    found = pd.read_csv(tmp_path / "mechanism_SYNTHETIC.csv", keep_default_na=False)
    rows = found[(found["level"] == "video") & (found["minus"] == "")].set_index(["row", "group"])["mean"].astype(float)
    assert rows["base", "fakes with the eye artefact"] == 1
    assert rows["base", "fakes without it"] == rows["MEP", "fakes without it"] < 1
    (gain,) = found.query("level == 'video' and minus == 'base' and group == 'fakes with the eye artefact'")["mean"]
    assert float(gain) == pytest.approx(rows["MEP", "fakes with the eye artefact"] - 1)
    assert found["synthetic"].all()
    written = (tmp_path / "mechanism_SYNTHETIC.md").read_text()
    assert written.startswith("# SYNTHETIC")
    assert "drawn abc123, test set of split official, 32-true; mean" in written
    assert "| MEP | base | masked-eye stages |" in written
    assert "| WL+RF+mouth mask | WL+RF | mouth masked |" in written
    assert "SYNTHETIC" in capsys.readouterr().out
