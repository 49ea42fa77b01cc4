"""timm classifiers: the published networks, what a linear probe trains, and errors for invalid settings."""

import pytest
import timm
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch.nn import functional

from deepfake_ms.composition import CONFIG_FOLDER
from deepfake_ms.errors import UserError
from deepfake_ms.models import build_model
from deepfake_ms.models.timm_classifier import TimmClassifier

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


def tiny(backbone: str = "test_resnet", **values) -> TimmClassifier:
    """One of timm's test models, for 32-pixel images."""
    torch.manual_seed(0)
    return TimmClassifier(backbone, **{"pretrained": False, "input_size": 32, **values})


def images(count: int = 4, size: int = 32) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


# --- Table 1's classifiers


@pytest.mark.parametrize(
    ("name", "weights", "input_size", "normalisation", "millions", "trainable"),
    [  # parameter counts from the papers (or timm's table), for two classes instead of 1000
        ("resnet50", "resnet50.tv_in1k", 224, IMAGENET, 23.51, None),
        ("senet", "seresnet50.a1_in1k", 224, IMAGENET, 26.04, None),
        ("senet154", "legacy_senet154.in1k", 224, IMAGENET, 113.04, None),
        ("efficientnet_b7", "tf_efficientnet_b7.ns_jft_in1k", 600, IMAGENET, 63.79, None),
        ("bit", "resnetv2_50x1_bit.goog_in21k_ft_in1k", 448, HALVES, 23.50, None),
        ("vit", "vit_base_patch16_224.augreg2_in21k_ft_in1k", 224, HALVES, 85.80, None),
        ("linear_probe", "vit_large_patch14_clip_quickgelu_224.openai", 224, CLIP, 303.18, 2 * 1024 + 2),
    ],
)
def test_full_size_classifiers(name, weights, input_size, normalisation, millions, trainable):
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        values = OmegaConf.to_container(compose("train", overrides=[f"model={name}", "size=full"]).model)
    values.pop("name")
    assert values["backbone"] == weights
    assert timm.get_pretrained_cfg(weights).has_weights
    with torch.device("meta"):
        model = build_model(values.pop("architecture"), **(values | {"pretrained": False}))
    assert model.input_size == input_size
    assert (model.mean, model.std) == normalisation
    count = sum(weight.numel() for weight in model.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.01)
    assert sum(weight.numel() for weight in model.parameters() if weight.requires_grad) == (trainable or count)


def test_pretrained_requests_the_tag_from_timm(monkeypatch):
    requested = []
    create = timm.create_model

    def offline(name, pretrained, **options):
        requested.append((name, pretrained))
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    tiny("test_resnet.r160_in1k", pretrained=True)
    assert requested == [("test_resnet.r160_in1k", True)]


@pytest.mark.parametrize("backbone", ["test_vit", "test_resnet"])
def test_input_size_may_differ_from_the_pretrained_one(backbone):
    assert TimmClassifier(backbone, pretrained=False).input_size == 160
    model = tiny(backbone, input_size=48)
    assert model.eval()(images(2, 48)).shape == (2, 2)


# --- the linear probe


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit", "test_efficientnet", "resnetv2_50x1_bit"])
def test_linear_probe_trains_only_its_classifier(backbone):
    model = tiny(backbone, frozen_backbone=True, input_size=32)
    classifier = {id(weight) for weight in model.backbone.get_classifier().parameters()}
    assert {id(weight) for weight in model.parameters() if weight.requires_grad} == classifier
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=0.01)
    model.eval().train()  # like a validation between two epochs
    for _ in range(3):
        optimizer.zero_grad()
        functional.cross_entropy(model(images()), torch.tensor([0, 1, 0, 1])).backward()
        optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert changed == trained  # so BatchNorm's running statistics are unchanged


def test_linear_probe_starts_undecided():
    """From the weights that timm draws for EfficientNet, the loss would start above 3."""
    model = tiny("test_efficientnet", frozen_backbone=True, input_size=32)
    assert torch.equal(model(images()), torch.zeros(4, 2))
    assert any(
        weight.abs().max() > 0
        for weight in tiny("test_efficientnet", input_size=32).backbone.get_classifier().parameters()
    )


def test_linear_probe_has_the_same_features_in_training_and_evaluation():
    model = tiny("test_resnet", frozen_backbone=True, backbone_options={"drop_rate": 0.5})
    torch.nn.init.normal_(model.backbone.get_classifier().weight)  # it starts from zero
    assert model.training
    in_training = model(images())  # before any call of train()
    assert torch.equal(in_training, model.train()(images()))
    assert torch.equal(in_training, model.eval()(images()))
    learning = tiny("test_resnet", backbone_options={"drop_rate": 0.5})
    assert not torch.equal(learning.train()(images()), learning.eval()(images()))


# --- gradient checkpointing


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit", "test_efficientnet", "resnetv2_50x1_bit"])
def test_gradient_checkpointing_stores_less_and_keeps_the_gradients(backbone):
    stored, gradients = {}, {}
    for checkpointing in (False, True):
        model = tiny(backbone, gradient_checkpointing=checkpointing).train()
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, sizes=sizes: sizes.append(tensor.numel()) or tensor, lambda tensor: tensor
        ):
            loss = functional.cross_entropy(model(images()), torch.tensor([0, 1, 0, 1]))
        stored[checkpointing] = sum(sizes)
        loss.backward()
        gradients[checkpointing] = [weight.grad for weight in model.parameters()]
    assert stored[True] < 0.7 * stored[False]
    torch.testing.assert_close(gradients[True], gradients[False])


# --- invalid settings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"backbone": "resnet5"}, "did you mean 'resnet5"),
        ({"backbone_options": {"width": 3}}, "test_resnet rejects the options.*width"),
        ({"backbone": "test_vit", "input_size": 40}, "input_size=40.*patch size 16: choose 32"),
        ({"input_size": -32}, "input_size=-32"),
        (
            {"backbone": "legacy_seresnet18", "gradient_checkpointing": True},
            "legacy_seresnet18 does not support gradient checkpointing: set gradient_checkpointing=false",
        ),
        ({"frozen_backbone": True, "gradient_checkpointing": True}, "saves nothing.*or frozen_backbone=false"),
        ({"backbone": "deit_tiny_distilled_patch16_224", "frozen_backbone": True}, "no single classifier layer"),
    ],
)
def test_errors_for_invalid_settings_name_the_remedy(values, message):
    with pytest.raises(UserError, match=message):
        tiny(**values)


def test_pretrained_weights_that_do_not_fit_the_options_are_rejected(monkeypatch):
    create = timm.create_model

    def with_default_weights(name, pretrained, **options):
        model = create(name, **options)
        model.load_state_dict(create(name, num_classes=2).state_dict())
        return model

    monkeypatch.setattr(timm, "create_model", with_default_weights)
    tiny("test_resnet", pretrained=True)
    with pytest.raises(UserError, match=r"cannot be loaded with the options.*channels.*pretrained=false"):
        tiny("test_resnet", pretrained=True, backbone_options={"channels": [8, 16, 24, 32]})
