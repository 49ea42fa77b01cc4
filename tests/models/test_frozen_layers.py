"""Frozen first layers of a backbone: the same gradients, no BatchNorms, and no backward pass for the image."""

import pytest
import torch
from torch import nn

from deepfake_ms.models import build_model
from deepfake_ms.models.genconvit.folding import _Convolution, fold
from deepfake_ms.models.genconvit.frozen_layers import features_of_both
from deepfake_ms.models.timm_models import create_timm_model
from deepfake_ms.training.detector import find_parts

SETTINGS = {
    "name": "genconvit_ed",
    "backbone": "tf_efficientnet_lite0.in1k",
    "backbone_options": {"block_groups": 4},
    "embedder_options": {"embed_dim": 12, "depths": (1,), "num_heads": (1,)},
    "pretrained": False,
    "input_size": 64,
    "features": 8,
    "channels": (4, 8),
    "autoencoder_init": "he",
}
FROZEN = ("*backbone.conv_stem", "*backbone.bn1", "*backbone.blocks.[01]")


def freeze(model: nn.Module, names: tuple[str, ...]) -> nn.Module:
    """Freeze as `Detector` does."""
    parameters, modules = find_parts(model.train(), names)
    for parameter in parameters:
        parameter.requires_grad_(False)
    for module in modules:
        module.eval()
    return model


def build(swin: str, frozen: tuple[str, ...] = FROZEN) -> nn.Module:
    torch.manual_seed(0)
    return freeze(with_statistics(build_model(**SETTINGS, swin=swin)), frozen)


def with_statistics(model: nn.Module) -> nn.Module:
    """Give every BatchNorm statistics and weights that change what it gets, unlike those of a new one."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(std=0.2)
            layer.running_var.uniform_(0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.2)
    return model


def images() -> torch.Tensor:
    return torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def in_one_batch(backbone: nn.Module, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return backbone.forward_features(torch.cat([first, second]))


@pytest.mark.parametrize("swin", ["live", "removed"])
def test_logits_gradients_and_statistics_equal_those_of_one_batch(swin, monkeypatch):
    model, reference = build(swin), build(swin)
    logits = model(images())
    logits.square().sum().backward()
    monkeypatch.setattr("deepfake_ms.models.genconvit.network.features_of_both", in_one_batch)
    expected = reference(images())
    expected.square().sum().backward()
    torch.testing.assert_close(logits, expected)
    assert model.encoder.features[0].weight.grad.abs().sum() > 0  # through the frozen layers
    for (name, weight), other in zip(model.named_parameters(), reference.parameters(), strict=True):
        assert (weight.grad is None) == (other.grad is None), name
        if weight.grad is not None:
            torch.testing.assert_close(weight.grad, other.grad, msg=name)
    for buffer, other in zip(model.buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(buffer, other)


def inputs_of(layer: nn.Module, model: nn.Module) -> list[tuple[int, bool]]:
    """Batch size and whether a gradient is needed, for each call of `layer` in a forward pass of `model`."""
    calls = []
    hook = layer.register_forward_hook(lambda _, inputs, __: calls.append((len(inputs[0]), inputs[0].requires_grad)))
    model(images())
    hook.remove()
    return calls


def test_only_the_reconstruction_takes_part_in_the_backward_pass_of_frozen_layers(monkeypatch):
    model = build("live")
    calls = []
    convolve = _Convolution.__call__

    def noted(convolution: _Convolution, features: torch.Tensor) -> torch.Tensor:
        if convolution.layer is model.backbone.blocks[1][0].conv_dw:
            calls.append((len(features), features.requires_grad))
        return convolve(convolution, features)

    monkeypatch.setattr(_Convolution, "__call__", noted)
    assert inputs_of(model.backbone.blocks[2], model) == [(6, True)]
    assert calls == [(3, True), (3, False)]  # reconstruction, image


@pytest.mark.parametrize("frozen", [(), ("backbone.blocks.0",)], ids=["nothing", "not_the_first_layer"])
def test_without_frozen_first_layers_both_views_are_one_batch(frozen):
    model = build("live", frozen)
    assert inputs_of(model.backbone.conv_stem, model) == [(6, True)]


def test_without_gradients_both_views_are_one_batch():
    model = build("live").eval()
    with torch.no_grad():
        assert inputs_of(model.backbone.bn1.act, model) == [(6, False)]
        assert inputs_of(model.backbone.bn1, model) == []  # folded


def test_evaluation_gives_the_logits_of_the_unfolded_layers(monkeypatch):
    model = build("removed").eval()
    with torch.no_grad():
        logits = model(images())
        monkeypatch.setattr("deepfake_ms.models.genconvit.network.features_of_both", in_one_batch)
        torch.testing.assert_close(logits, model(images()))


def test_changed_weights_and_statistics_are_folded_anew():
    model = build("removed").eval()
    with torch.no_grad():
        before = model(images())
        model.backbone.bn1.running_mean.add_(1)
        assert not torch.allclose(model(images()), before)


@pytest.mark.parametrize("height", [64, 47])  # TensorFlow pads even and odd sizes differently
@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "mobilenetv2_100", "efficientnet_b0", "efficientnet_es"])
def test_folded_layers_compute_the_same(name, height):
    """Paddings, activations, and blocks with layers that are not folded (squeeze-and-excitation, edge residual)."""
    torch.manual_seed(0)
    backbone = with_statistics(create_timm_model(name, False)).double().eval().requires_grad_(False)
    layers = [backbone.conv_stem, backbone.bn1, *backbone.blocks, backbone.conv_head, backbone.bn2]
    image = images()[:, :, :height].double()
    found, expected = image.clone().requires_grad_(), image.clone().requires_grad_()
    features = found
    for layer in fold(layers):
        features = layer(features)
    reference = backbone.forward_features(expected)
    torch.testing.assert_close(features, reference)
    features.square().sum().backward()
    reference.square().sum().backward()
    torch.testing.assert_close(found.grad, expected.grad)


@pytest.mark.parametrize(("name", "kept"), [("tf_efficientnet_lite0", 0), ("efficientnet_b0", 16)])
def test_blocks_with_other_layers_are_not_folded(name, kept):
    backbone = create_timm_model(name, False)
    folded = fold([backbone.conv_stem, backbone.bn1, *backbone.blocks])
    assert sum(isinstance(layer, nn.Module) for layer in folded) == kept


def test_a_backbone_that_recomputes_its_activations_is_left_alone():
    model = freeze(build_model(**SETTINGS, gradient_checkpointing=True), FROZEN)
    assert inputs_of(model.backbone.conv_stem, model) == [(6, True)]


def test_other_backbones_are_left_alone():
    backbone = freeze(nn.ModuleDict({"stem": nn.Conv2d(3, 4, 3), "head": nn.Conv2d(4, 2, 3)}), ("stem",))
    backbone.forward_features = lambda image: backbone["head"](backbone["stem"](image))
    assert features_of_both(backbone, images(), images()).shape == (6, 2, 60, 60)
