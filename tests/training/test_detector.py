"""The LightningModule: normalisation, and parts of the model that do not learn."""

import pytest
import tiny_run
import torch
from torch import nn

from deepfake_ms.errors import UserError
from deepfake_ms.training.detector import Detector, find_parts

MODEL = tiny_run.CONFIG["model"]


def detector(**changes) -> Detector:
    model = {name: value for name, value in MODEL.items() if name not in ("name", "architecture")}
    arguments = {
        "model": {"name": MODEL["architecture"], **model},
        "class_weights": {"real": 1.0, "fake": 1.0},
        "optimizer": {"name": "SGD", "lr": 0.1},
        "schedule": {"name": "StepLR", "step_size": 1},
    }
    return Detector(**arguments | changes)


def test_images_are_normalised_with_the_models_constants():
    module = detector()
    module.mean, module.std = torch.tensor([0.1, 0.2, 0.3])[:, None, None], torch.tensor([0.5, 1, 2])[:, None, None]
    images = torch.tensor([0, 51, 255], dtype=torch.uint8)[None, :, None, None].expand(2, 3, 4, 4)
    batch = module.on_after_batch_transfer({"image": images, "label": torch.zeros(2)}, 0)
    expected = [(0 - 0.1) / 0.5, (0.2 - 0.2) / 1, (1 - 0.3) / 2]
    for channel, value in enumerate(expected):
        torch.testing.assert_close(batch["image"][:, channel], torch.full((2, 4, 4), value))
    assert batch["image"].dtype == torch.float32
    assert not any(name in module.state_dict() for name in ("mean", "std"))  # checkpoints stay the model's


def test_frozen_parts_neither_learn_nor_change_their_statistics():
    module = detector(freeze=["backbone.conv1", "backbone.bn1"]).train()
    frozen = {name for name, weight in module.model.named_parameters() if not weight.requires_grad}
    assert {name for name in frozen if name.startswith(("backbone.conv1.", "backbone.bn1."))}
    assert not module.model.backbone.bn1.training
    assert module.model.backbone.layer1.training
    before = {name: value.clone() for name, value in module.model.backbone.bn1.state_dict().items()}
    module.model(torch.randn(4, 3, tiny_run.SIZE, tiny_run.SIZE))
    for name, value in module.model.backbone.bn1.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_prefix_means_whole_names():
    model = nn.Module()
    model.layer_1, model.layer_10 = nn.Linear(2, 2), nn.Linear(2, 2)
    parameters, modules = find_parts(model, ["layer_1"])
    assert [id(each) for each in parameters] == [id(each) for each in model.layer_1.parameters()]
    assert modules == [model.layer_1]
    parameters, _ = find_parts(model, ["*_1"])
    assert {id(each) for each in parameters} == {id(each) for each in model.layer_1.parameters()}
    parameters, _ = find_parts(model, ["layer_1*.bias"])
    assert [each.ndim for each in parameters] == [1, 1]
    parameters, modules = find_parts(model, ["layer_10.bias"])
    assert parameters == [model.layer_10.bias]
    assert modules == []


def test_wrong_names_and_a_model_that_cannot_learn_are_refused():
    with pytest.raises(UserError, match=r"no module or parameter backbone\.convv1; the nearest are backbone\.conv1"):
        detector(freeze=["backbone.convv1"])
    with pytest.raises(UserError, match=r"no module or parameter feature_map; the nearest are (?!feature_map)"):
        detector(freeze=["feature_map"])  # it has no parameters
    parts = [name for name, part in detector().model.named_children() if list(part.parameters())]
    with pytest.raises(UserError, match="leaves nothing to train"):
        detector(freeze=parts)
