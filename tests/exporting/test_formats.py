"""The exported files: same scores as the run, nothing of this machine, nothing pickled."""

import json
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from exported_run import crops_of, export

from deepfake_ms.errors import UserError
from deepfake_ms.exporting import from_pretrained, graphs, write
from deepfake_ms.exporting.graphs import open_onnx, open_torch
from deepfake_ms.exporting.parity import TOLERANCE, measure_parity
from deepfake_ms.prediction.detector import load_detector


def test_all_formats_score_like_the_run(exported):
    faces = crops_of(exported)
    expected = exported.detector.probabilities(faces)
    assert np.ptp(expected) > 0.01
    with torch.inference_mode():
        assert from_pretrained(exported.folder)(torch.from_numpy(faces)).numpy() == pytest.approx(expected, abs=1e-6)
    for opened in (open_onnx, open_torch):
        score = opened(exported.folder)
        for number in (1, 2, 7, len(faces)):
            assert score(faces[:number]) == pytest.approx(expected[:number], abs=1e-6)


def test_onnx_states_opset_and_dynamic_batch(exported):
    model = onnx.load(exported.folder / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    recorded = json.loads((exported.folder / "config.json").read_text())["onnx"]
    assert [each.version for each in model.opset_import if each.domain == ""] == [recorded["opset"]]
    (given,), (returned,) = model.graph.input, model.graph.output
    assert (given.name, returned.name) == (recorded["input"], recorded["output"])
    batch, *shape = given.type.tensor_type.shape.dim
    assert batch.dim_param
    assert [each.dim_value for each in shape] == [3, 224, 224]
    assert given.type.tensor_type.elem_type == onnx.TensorProto.UINT8


def test_weights_beyond_the_limit_of_a_file_are_beside_onnx(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(graphs, "LARGEST_FILE", 0)
    names = graphs.write_onnx(graphs.trace(from_pretrained(exported.folder), 224), tmp_path)
    assert names == ["model.onnx", "model.onnx.data"] == sorted(path.name for path in tmp_path.iterdir())
    faces = crops_of(exported)
    assert open_onnx(tmp_path)(faces) == pytest.approx(exported.detector.probabilities(faces), abs=1e-6)


def test_loading_needs_neither_run_nor_faces(exported, tmp_path):
    folder = shutil.copytree(exported.folder, tmp_path / "elsewhere")
    detector = load_detector(folder)
    assert detector.facts() == exported.detector.facts()
    faces = crops_of(exported)
    assert detector.probabilities(faces) == pytest.approx(exported.detector.probabilities(faces), abs=0)


def test_no_file_names_this_machine_or_holds_a_pickle(exported):
    names = [exported.run.folder, exported.run.faces.folder, Path(torch.__file__).parents[1], Path(__file__).parents[2]]
    for path in exported.folder.iterdir():
        content = path.read_bytes()
        if path.suffix == ".pt2":
            with zipfile.ZipFile(path) as archive:
                content = b"\n".join(archive.read(name) for name in archive.namelist())
            assert b'"use_pickle": true' not in content
        assert b"\x80\x02" not in content[:2]
        for name in names:
            assert str(name).encode() not in content, path
        assert not re.search(rb"\.pkl|site-packages", content), path


def test_all_files_may_be_read_by_others(exported):
    assert len({path.stat().st_mode for path in exported.folder.iterdir()}) == 1


def test_a_difference_ends_the_export_without_a_folder(evaluated, tmp_path):
    with pytest.raises(UserError, match=r"model.safetensors differs .* by 0.0002 in P\(fake\).*nothing was exported"):
        export(evaluated[0], tmp_path / "folder", change=lambda scores: scores + 2 * TOLERANCE)
    with pytest.raises(UserError, match="by nan"):
        export(evaluated[0], tmp_path / "folder", change=lambda scores: scores * np.nan)
    assert list(tmp_path.iterdir()) == []


def test_parity_is_measured_on_all_faces_in_all_batches():
    calls = []

    def score(faces):
        calls.append(len(faces))
        return faces[:, 0, 0, 0].astype(np.float32)

    faces = np.zeros((12, 3, 1, 1), np.uint8)
    assert measure_parity("file", score, lambda faces: faces[:, 0, 0, 0] + 5e-5, faces) == pytest.approx(5e-5)
    assert calls == [1, 2, 7, 1, 1]
    faces[-1] = 1
    with pytest.raises(UserError, match="file differs"):
        measure_parity("file", score, lambda faces: np.zeros(len(faces)), faces)


def test_an_empty_folder_is_filled_without_a_neighbour(tmp_path):
    """As of a container: the folder is a mounted disk, and nothing beside it can be written."""
    place = tmp_path / "mounted"
    place.mkdir()
    with write._replacing_empty(place) as part:
        assert part.parent == place
        assert [path.name for path in tmp_path.iterdir()] == ["mounted"]
        (part / "file").write_text("content")
    assert [path.name for path in place.iterdir()] == ["file"]


def test_a_folder_in_use_is_kept(evaluated, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is not an empty folder"):
        export(evaluated[0], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
