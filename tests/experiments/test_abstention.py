"""When predict abstains: counts, errors on both sides, and the rules that are compared."""

import cv2
import numpy as np
import pandas as pd
import pytest
import tiny_run
import torch
from rich.console import Console

from deepfake_ms.evaluation.scores import evaluate
from deepfake_ms.evaluation.test_set import TestSet
from deepfake_ms.models import build_model
from experiments.abstention.__main__ import main, summarise
from experiments.abstention.features import nearest_distances, network_features


def test_shares_and_errors_of_both_sides():
    judged = pd.DataFrame(
        {
            "reason": [None, None, None, None, "only 1 frame", "unlike the training data", "unlike the training data"],
            "wrong": [True, False, False, False, True, True, False],
            "features": [True, False, False, False, False, False, False],
        }
    )
    found = summarise("some", judged, True)
    assert (found["videos"], found["scored"]) == (7, pytest.approx(4 / 7))
    assert (found["few_frames"], found["unlike"]) == (pytest.approx(1 / 7), pytest.approx(2 / 7))
    assert (found["no_face"], found["small"]) == (0, 0)
    assert (found["error_scored"], found["error_unlike"]) == (0.25, 0.5)
    assert found["unlike_by_features"] == pytest.approx(1 / 7)
    assert "unlike_by_uncertain" not in found


@pytest.mark.parametrize(
    ("model", "dimensions"),
    [
        ({**tiny_run.CONFIG["model"], "swin": "removed"}, 2 * 16),
        (tiny_run.VIT["model"], 16),
        ({"architecture": "timm_classifier", "backbone": "resnet18", "pretrained": False, "input_size": 32}, 512),
        (
            {
                **{"architecture": "timm_classifier", "backbone": "swin_tiny_patch4_window7_224", "pretrained": False},
                **{"input_size": 32, "backbone_options": {"embed_dim": 8, "depths": [1], "num_heads": [2]}},
            },
            8,
        ),
    ],
    ids=["genconvit", "vit", "resnet", "swin"],
)
def test_features_do_not_depend_on_the_batch(model, dimensions):
    """GenConViT has two views; a Vision Transformer has tokens, a Swin has channels last."""
    torch.manual_seed(0)
    values = {name: value for name, value in model.items() if name not in ("name", "architecture")}
    built = build_model(model["architecture"], **values).eval()
    crops = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), np.uint8)
    together = network_features(built, crops)
    if dimensions is not None and model["architecture"] == "timm_classifier" and "vit" not in model["backbone"]:
        assert together.shape == (5, dimensions)
    alone = np.concatenate([network_features(built, crops[each : each + 1]) for each in range(5)])
    assert np.abs(together - alone).max() < 1e-5
    assert np.linalg.norm(together, axis=1) == pytest.approx(1)


def test_nearest_distances():
    angles = np.linspace(0, 0.4, 5)
    training = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    here, opposite = np.array([[1.0, 0.0]]), np.array([[-1.0, 0.0]])
    assert nearest_distances(here, training) == pytest.approx(2 * np.sin(0.2))
    assert nearest_distances(opposite, training) == pytest.approx(2)


def test_program(tmp_path, capsys):
    """On a tiny run: every set has a row, and files without a face abstain."""
    prepared = tiny_run.write_faces(tmp_path / "prepared" / "tiny-0123456789ab")
    run = tiny_run.train(tmp_path / "run", prepared, tiny_run.ONE_STAGE)
    evaluate(run, TestSet.of_run(run, "test"), tiny_run.trainer(), Console(quiet=True))
    (tmp_path / "files").mkdir()
    cv2.imwrite(str(tmp_path / "files" / "a.png"), np.full((64, 64, 3), 128, np.uint8))
    stills = f"stills={tmp_path / 'files'}"
    places = ["--run", run.folder, "--prepared", prepared, "--output", tmp_path / "out"]
    main([*map(str, places), "--files", stills])
    table = pd.read_csv(tmp_path / "out" / "abstention_SYNTHETIC.csv").set_index("faces")
    assert table.loc["stills", "no_face"] == 1
    assert {"own test set", "own test set, jpeg 5", "tiny"} < set(table.index)
    shares = table[["scored", "no_face", "few_frames", "small", "unlike"]].sum(axis=1)
    assert shares.to_numpy() == pytest.approx(1)
    assert "| stills | 1 | 0 | 100 |" in capsys.readouterr().out
