"""Exported folders that were truncated, changed or made up: one sentence, and no code in them runs."""

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest

from deepfake_ms.errors import UserError
from deepfake_ms.exporting import from_pretrained
from deepfake_ms.files import sha256_of
from deepfake_ms.prediction.detector import load_detector

WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(exported, tmp_path) -> Path:
    """A copy that can be damaged."""
    return shutil.copytree(exported.folder, tmp_path / "copy")


def change(folder: Path, key: str, value: object) -> None:
    """Set a dotted key of config.json; None as the last word removes it."""
    config = json.loads((folder / "config.json").read_text())
    *path, last = key.split(".")
    inner = config
    for name in path:
        inner = inner[name]
    if value is KeyError:
        del inner[last]
    else:
        inner[last] = value
    (folder / "config.json").write_text(json.dumps(config))


def sentence(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_detector(folder)
    text = str(caught.value)
    assert "\n" not in text
    assert "again" in text
    return text


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_truncated_weights(folder, keep):
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:keep])
    assert str(path) in sentence(folder)
    change(folder, "files", {WEIGHTS: sha256_of(path)})  # whoever truncated them may have changed the record, too
    assert f"{path} does not fit config.json" in sentence(folder)


def test_one_changed_bit(folder):
    path = folder / WEIGHTS
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert "was changed after the export" in sentence(folder)


def test_missing_files(folder, tmp_path):
    (folder / WEIGHTS).unlink()
    assert f"{folder / WEIGHTS} is missing" in sentence(folder)
    with pytest.raises(UserError, match=r"config.json is missing: give a folder that `deepfake-ms export` wrote"):
        from_pretrained(tmp_path / "nowhere")


class Payload:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_pickled_weights_are_not_executed(folder, tmp_path):
    path = folder / WEIGHTS
    path.write_bytes(pickle.dumps(Payload(tmp_path / "executed")))
    change(folder, "files", {WEIGHTS: sha256_of(path)})
    assert "does not fit config.json" in sentence(folder)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b'{"format": 99}', b"[" * 100_000])
def test_unreadable_config(folder, content):
    (folder / "config.json").write_bytes(content)
    assert "config.json" in sentence(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("architecture", "os.system"),
        ("architecture", KeyError),
        ("architecture", ["vit"]),
        ("arguments", []),
        ("arguments.backbone", "resnet18"),
        ("arguments.backbone", "hf-hub:someone/something"),
        ("arguments.backbone", "../../model"),
        ("arguments.pretrained", True),
        ("arguments.checkpoint", "weights.pth"),
        ("arguments.backbone_options", {"checkpoint_path": "weights.pth"}),
        ("arguments.backbone_options", {"pretrained_cfg": {"file": "weights.pth"}}),
        ("arguments.backbone_options", {"embed_dim": 32, "depth": 1, "num_heads": 2}),
        ("arguments.backbone_options", {"embed_dim": "wide"}),
        ("arguments.backbone_options", {"embed_dim": -1}),
        ("arguments.backbone_options", {"embed_dim": 32, "depth": 1, "num_heads": 0}),
        ("arguments.backbone_options", {"embed_dim": 32, "depth": 1, "num_heads": [2]}),
        ("arguments.more", 1),
        ("format", True),
        ("input.mean", [10**400, 0, 0]),
        ("input.crop_size", "224"),
        ("input.crop_size", 10**9),
        ("input.input_size", 64),
        ("input.mean", [0.1, 0.2, 0.3]),
        ("input.std", [0, 0, 0]),
        ("input.std", 1),
        ("detector", None),
        ("detector", KeyError),
        ("detector", []),
        ("detector.name", 3),
        ("detector.about", "text"),
        ("detector.about.protocol_card", None),
        ("detector.about.seed", float("nan")),
        ("detector.preparation.fps", 10**400),
        ("detector.preparation.crop_size", KeyError),
        ("detector.preparation.pipeline_version", KeyError),
        ("detector.synthetic", "no"),
        ("detector.thresholds", {"frame": 2, "video": 0.5}),
        ("detector.thresholds", {"frame": "0.5", "video": 0.5}),
        ("detector.thresholds.frame", KeyError),
        ("detector.temperatures.video", -1),
        ("detector.reference", {}),
        ("detector.reference.precision", [[1.0]]),
        ("detector.reference.mean", ["a"] * 14),
        ("detector.reference.limits.frame", float("inf")),
        ("detector.reference.smallest_face", -1),
        ("detector.preparation", {"fps": -1}),
        ("detector.preparation.face", "ugliest"),
        ("detector.preparation.unknown", 1),
        ("files", {}),
        ("files", {WEIGHTS: None}),
        ("files", {"../model.safetensors": "0" * 64}),
        ("files", KeyError),
    ],
)
def test_impossible_values(folder, key, value):
    change(folder, key, value)
    assert "config.json" in sentence(folder) or WEIGHTS in sentence(folder)
