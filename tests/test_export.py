"""``deepfake-ms export`` as a command."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_run
from rich.console import Console

from deepfake_ms.evaluation.scores import evaluate
from deepfake_ms.evaluation.test_set import TestSet
from deepfake_ms.prediction.detector import load_detector


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("command")
    prepared = tiny_run.write_faces(folder / "prepared" / "tiny-0123456789ab")
    return tiny_run.train(folder / "seed_0", prepared, {**tiny_run.ONE_STAGE, **tiny_run.VIT})


def test_export(run, call, tmp_path):
    status, _, err = call("export", f"run={run.folder}", "to=detector")
    assert status == 2
    assert f"run `deepfake-ms evaluate run={run.folder}` first" in err
    evaluate(run, TestSet.of_run(run, "test"), tiny_run.trainer(), Console(quiet=True))

    earlier = run.folder / "evaluation" / "test_blur" / "selected"
    shutil.copytree(run.folder / "evaluation" / "test" / "selected", earlier)
    (earlier / "videos.csv").unlink()  # earlier versions did not write it
    (tmp_path / "detector").mkdir()  # empty, so it may be used
    status, out, err = call("export", f"run={run.folder}", "to=detector")
    assert status == 0, err
    assert [path.name for path in tmp_path.iterdir()] == ["detector"]
    for name in ("model.safetensors", "model.onnx", "model.pt2"):
        assert f"detector/{name}: " in out
    assert "SYNTHETIC DATA" in out
    assert "states no licence" in out
    assert "an earlier version scored them: test_blur." in out
    shutil.rmtree(earlier.parent)
    faces = np.random.default_rng(0).integers(0, 256, (3, 3, 224, 224), np.uint8)
    expected = load_detector(run.folder).probabilities(faces)

    readme = (Path(__file__).parents[1] / "docs/export.md").read_text()
    (example,) = [
        block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "from_pretrained" in block
    ]
    names = {"faces": faces}
    exec(example, names)
    assert names["fake_probability"].detach().numpy() == pytest.approx(expected, abs=1e-6)

    elsewhere = shutil.move(tmp_path / "detector", tmp_path / "elsewhere")
    assert load_detector(elsewhere).probabilities(faces) == pytest.approx(expected, abs=0)

    status, _, err = call("export", f"run={run.folder}", f"to={elsewhere}")
    assert status == 2
    assert "is not an empty folder" in err


def test_prepared_faces_that_were_moved(run, call, tmp_path):
    evaluate(run, TestSet.of_run(run, "test"), tiny_run.trainer(), Console(quiet=True))
    copy = shutil.copytree(run.folder, tmp_path / "copy")
    (copy / "evaluation" / "validation" / "selected" / "detector.json").unlink(missing_ok=True)
    faces = shutil.move(run.faces.folder, tmp_path / "moved")
    try:
        status, _, err = call("export", f"run={copy}", "to=detector")
        assert status == 2
        assert "give their folder with prepared=" in err
        status, out, err = call("export", f"run={copy}", "to=detector", f"prepared={faces}", "licence=mit")
        assert status == 0, err
        assert "licence" not in out
    finally:
        shutil.move(faces, run.faces.folder)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "run=... and to=... are missing"),
        (["run=somewhere"], "to=... is missing"),
        (["run=", "to=folder"], "run=... is missing"),
        (["run=somewhere", "to=folder", "opset=17"], "opset=17 is no setting of export"),
        (["somewhere", "to=folder"], "somewhere is no setting of export"),
        (["run=somewhere", "to=folder"], "run.json is missing"),
    ],
)
def test_wrong_arguments(call, arguments, sentence):
    status, out, err = call("export", *arguments)
    assert (status, out) == (2, "")
    assert sentence in err
    assert len(err.splitlines()) == 1


def test_missing_libraries_are_one_sentence(call, monkeypatch):
    monkeypatch.setattr("deepfake_ms.exporting.graphs.find_spec", lambda name: None if name == "onnx" else True)
    status, _, err = call("export", "run=somewhere", "to=folder")
    assert status == 2
    assert "onnx is not installed: run pip install 'deepfake_ms[export]'" in err
