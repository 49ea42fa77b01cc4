"""GenConViT-ED: released logits, trained parameters in each mode of the Swin, and invalid settings."""

import json
import math
import zlib

import pytest
import timm
import torch
from torch.nn import functional

from deepfake_ms.errors import UserError
from deepfake_ms.labels import FAKE, REAL
from deepfake_ms.models import build_model
from deepfake_ms.models.genconvit.autoencoder import Decoder, Encoder, initialise_for_relu

MODES = ["live", "as_released", "removed"]
UNUSED_SWIN = ("embedder.", "backbone.patch_embed.")
SMALL = {
    "backbone": "resnet10t",
    "backbone_options": {
        "layers": (1, 1, 1, 1),
        "channels": (16, 32, 64, 128),
        "stem_width": 8,
        "zero_init_last": False,
    },
    "embedder_options": {"embed_dim": 48, "depths": (1,), "num_heads": (3,), "drop_path_rate": 0.0},
    "pretrained": False,
    "input_size": 112,
    "features": 64,
    "channels": (8, 16, 32, 64),
    "autoencoder_init": "he",
}

NARROW = {  # like ConvNeXt-Tiny and Swin-Tiny, but with smaller widths and depths
    "features": 8,
    "backbone_options": {"depths": (1, 1, 1, 1), "dims": (8, 16, 32, 64)},
    "embedder_options": {"depths": (1, 1, 2, 2), "embed_dim": 12, "num_heads": (1, 1, 2, 4)},
}


def small_model(swin: str, seed: int = 0, **changes):
    torch.manual_seed(seed)
    return build_model("genconvit_ed", **(SMALL | {"swin": swin} | changes))


def images(count: int = 2, size: int = 112) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def without_gradient(model) -> set[str]:
    """Names of the parameters whose gradient is missing or all zero after one backward pass."""
    model.train()(images()).square().sum().backward()
    return {name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()}


def unused_swin_parameters(model) -> set[str]:
    return {name for name, _ in model.named_parameters() if name.startswith(UNUSED_SWIN)}


@pytest.fixture(scope="module")
def released_model():
    return build_model("genconvit_ed", swin="as_released", pretrained=False).eval()


# --- the full-size model against the release


def test_released_mode_has_the_released_parameter_counts(released_model):
    assert sum(weight.numel() for weight in released_model.parameters()) == 59_214_875
    assert sum(weight.numel() for weight in released_model.parameters() if not weight.requires_grad) == 29_057_122


def formula_weight(key: str, shape: list[int]) -> torch.Tensor:
    """The weight that genconvit_ed_expected.json prescribes for `key`."""
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(key.encode())))
    if weight.ndim >= 2:
        return weight / math.sqrt(math.prod(shape[1:]))
    if key.endswith("gamma"):
        return 0.5 + 0.1 * weight
    return 1 + 0.1 * weight if key.endswith("weight") else 0.1 * weight


def test_released_mode_reproduces_the_authors_logits(released_model, shared):
    shapes = json.loads((shared / "fixtures/genconvit_ed_released_keys.json").read_text())
    expected = json.loads((shared / "fixtures/genconvit_ed_expected.json").read_text())
    weights = {key: formula_weight(key, shape) for key, shape in shapes.items() if not key.startswith(UNUSED_SWIN)}
    assert {key for key in released_model.state_dict() if not key.startswith(UNUSED_SWIN)} == set(weights)
    for key in ("fc2.weight", "fc2.bias"):
        weights[key] = weights[key].flip(0)  # released order: fake, real; ours: real, fake
    released_model.load_state_dict(weights, strict=False)

    wave = torch.sin(torch.arange(2 * 3 * 224 * 224, dtype=torch.float64) * 0.0137)
    with torch.no_grad():
        logits = released_model(wave.reshape(2, 3, 224, 224).float())

    fake_real = torch.tensor(expected["logits_fake_real"])
    torch.testing.assert_close(logits[:, [FAKE, REAL]], fake_real, atol=expected["tolerance"], rtol=0)


def test_shapes_of_latent_and_reconstruction_at_224_pixels():
    encoder, decoder = Encoder((16, 32, 64, 128, 256)), Decoder((16, 32, 64, 128, 256))
    latent = encoder(images(size=224))
    assert latent.shape == (2, 256, 7, 7)
    assert decoder(latent).shape == (2, 3, 224, 224)


def test_live_swin_merges_a_7x7_grid_and_freezes_only_single_token_tables():
    live_model = build_model("genconvit_ed", swin="live", pretrained=False, **NARROW)
    stages = live_model.embedder.layers
    assert [tuple(stage.output_resolution) for stage in stages] == [(7, 7), (4, 4), (2, 2), (1, 1)]
    assert live_model(images(size=224)).shape == (2, 2)
    frozen = {name for name, weight in live_model.named_parameters() if not weight.requires_grad}
    table = "embedder.layers.3.blocks.{}.attn.relative_position_bias_table"
    assert frozen == {table.format(0), table.format(1)}


def test_live_swin_keeps_its_initial_weights(monkeypatch):
    created = {}
    create = timm.create_model

    def record(name, **options):
        model = create(name, **options)
        created[name] = {key: weight.clone() for key, weight in model.state_dict().items()}
        return model

    monkeypatch.setattr(timm, "create_model", record)
    model = small_model("live")
    (swin,) = (weights for name, weights in created.items() if name.startswith("swin"))
    kept = {key for key, weight in model.embedder.state_dict().items() if key in swin and weight.equal(swin[key])}
    assert set(swin) - kept == {
        "patch_embed.proj.weight",  # the projection of the feature map replaces the 4x4 patches
        "patch_embed.proj.bias",
        "patch_embed.norm.weight",
        "patch_embed.norm.bias",
        "layers.0.blocks.0.attn.relative_position_bias_table",  # resized to the 4x4 grid
    }


# --- small models in each mode


@pytest.mark.parametrize("swin", MODES)
def test_all_parameters_learn_except_the_released_swin(swin):
    model = small_model(swin)
    unused = unused_swin_parameters(model) if swin == "as_released" else set()
    assert bool(unused) == (swin == "as_released")
    assert {name for name, weight in model.named_parameters() if not weight.requires_grad} == unused
    assert without_gradient(model) == unused


def test_released_swin_gets_no_gradient_even_when_unfrozen():
    model = small_model("as_released").requires_grad_(True)
    assert without_gradient(model) == unused_swin_parameters(model)


def test_removed_computes_the_released_function_without_unused_parameters():
    removed, released = small_model("removed").eval(), small_model("as_released").eval()
    assert not unused_swin_parameters(removed)
    assert torch.equal(released(images()), removed(images()))


def test_live_swin_attends_over_tokens():
    model = small_model("live").eval()
    shapes = []
    model.embedder.layers.register_forward_hook(lambda module, arguments, output: shapes.append(arguments[0].shape))
    model(images(3))
    assert shapes == [(6, 4, 4, 48)]  # reconstructions and images in one batch, 4x4 tokens of width 48


@pytest.mark.parametrize("swin", MODES)
def test_one_batched_backbone_call_equals_two_calls(swin):
    model = small_model(swin).eval()
    image = images()
    seen = []
    first_layer = next(model.backbone.children())
    first_layer.register_forward_hook(lambda module, arguments, output: seen.append(arguments[0]))
    logits = model(image)
    assert len(seen) == 1
    reconstruction = model.decoder(model.encoder(image))
    torch.testing.assert_close(seen[0], torch.cat([reconstruction, image]))
    both = torch.cat([model.feature_vectors(reconstruction), model.feature_vectors(image)], dim=1)
    gelu = torch.nn.functional.gelu
    torch.testing.assert_close(logits, model.fc2(gelu(model.fc(gelu(both)))))


@pytest.mark.parametrize("swin", MODES)
def test_evaluation_is_deterministic_and_independent_of_the_batch(swin):
    model = small_model(swin).eval()
    logits = model(images(3))
    assert logits.shape == (3, 2)
    assert torch.equal(logits, model(images(3)))
    torch.testing.assert_close(model(images(3)[:1]), logits[:1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("swin", MODES)
def test_reloaded_weights_give_the_same_logits(swin, tmp_path):
    model, other = small_model(swin).eval(), small_model(swin, seed=1).eval()
    assert not torch.equal(model(images()), other(images()))
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(model(images()), other(images()))


def test_normalisation_comes_from_the_backbone():
    model = small_model("removed")
    assert (model.mean, model.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert model.input_size == 112


def test_he_initialisation_prevents_all_zero_reconstructions():
    all_zero = {"torch_default": 0, "he": 0}
    for seed in range(40):
        torch.manual_seed(seed)
        encoder, decoder = Encoder((8, 16, 32)), Decoder((8, 16, 32))
        all_zero["torch_default"] += not decoder(encoder(images(1, 32))).any()
        initialise_for_relu(encoder, decoder)
        all_zero["he"] += not decoder(encoder(images(1, 32))).any()
    assert all_zero["he"] == 0 < all_zero["torch_default"]


def test_pretrained_requests_the_tags_from_timm(monkeypatch):
    requested = []
    create = timm.create_model

    def offline(name, pretrained, **options):
        requested.append((name, pretrained))
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    build_model("genconvit_ed", pretrained=True, **NARROW)
    assert requested == [("convnext_tiny.fb_in1k", True), ("swin_tiny_patch4_window7_224.ms_in1k", True)]


# --- loss and memory


def face_batch(count: int = 4) -> dict[str, torch.Tensor]:
    return {"image": images(count), "label": torch.arange(count) % 2}


def test_default_has_no_reconstruction_term():
    model, batch = small_model("live").eval(), face_batch()
    terms = model.loss_terms(batch, functional.cross_entropy)
    assert list(terms) == ["classification"]
    torch.testing.assert_close(terms["classification"], functional.cross_entropy(model(batch["image"]), batch["label"]))


def test_reconstruction_loss_uses_the_image_in_0_to_1():
    colours = torch.rand(4, 3, 112, 112, generator=torch.Generator().manual_seed(2))
    model = small_model("removed", reconstruction_weight=0.5).eval()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (model.mean, model.std))
    batch = {"image": (colours - mean) / std, "label": torch.arange(4) % 2}
    terms = model.loss_terms(batch, functional.cross_entropy)
    reconstruction = model.decoder(model.encoder(batch["image"]))
    torch.testing.assert_close(terms["reconstruction"], 0.5 * (reconstruction - colours).square().mean())
    plain = small_model("removed").eval().loss_terms(batch, functional.cross_entropy)
    assert torch.equal(terms["classification"], plain["classification"])


def test_reconstruction_loss_trains_the_autoencoder():
    model = small_model("removed", reconstruction_weight=1.0).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    errors = []
    for _ in range(20):
        terms = model.loss_terms(face_batch(), lambda logits, label: 0 * logits.sum())
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        errors.append(float(terms["reconstruction"].detach()))
    assert errors[-1] < errors[0] / 2


def test_gradient_checkpointing_keeps_gradients():
    gradients = []
    for switch in (False, True):
        torch.manual_seed(0)
        model = build_model("genconvit_ed", swin="live", pretrained=False, gradient_checkpointing=switch, **NARROW)
        passes = []
        for block in (model.backbone.stages[0].blocks[0], model.embedder.layers[0].blocks[0]):
            block.register_forward_pre_hook(lambda module, _, passes=passes: passes.append(module))
        torch.manual_seed(1)
        model.train()(images(size=224)).square().sum().backward()
        assert len(passes) == (4 if switch else 2)  # each block is recomputed in the backward pass
        gradients.append({name: w.grad for name, w in model.named_parameters() if w.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name in gradients[0]:
        torch.testing.assert_close(gradients[1][name], gradients[0][name], msg=name)


# --- invalid settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"swin": "alive"}, "live, as_released, removed"),
        ({"autoencoder_init": "xavier"}, "torch_default, he"),
        ({"input_size": 100}, "multiple of 16.*choose 96"),
        ({"reconstruction_weight": -1.0}, "reconstruction_weight=-1.0.*0 or more"),
        ({"reconstruction_weight": float("nan")}, "reconstruction_weight=nan.*0 or more"),
        ({"backbone": "resnet10tt"}, "did you mean 'resnet10t'"),
        ({"backbone": "convnext_tiny.fb_in1"}, "did you mean 'convnext_tiny.fb_in1k'"),
        ({"backbone_options": {"depth": 3}}, "resnet10t rejects the options.*depth"),
        ({"embedder": "resnet18", "embedder_options": {}}, "embedder is a ResNet.*swin_"),
        ({"backbone": "test_vit", "backbone_options": {"img_size": 112}}, "no feature map.*swin=removed"),
    ],
)
def test_errors_for_invalid_settings_name_the_remedy(changes, message):
    with pytest.raises(UserError, match=message):
        build_model("genconvit_ed", **(SMALL | {"swin": "live"} | changes))


def test_images_of_another_size_are_rejected():
    with pytest.raises(UserError, match="96x96 pixels, but the model expects 112x112"):
        small_model("removed")(images(size=96))


def test_failed_download_is_a_user_error(monkeypatch):
    def no_network(name, **options):
        raise FileNotFoundError("cannot locate the file on the Hub")

    monkeypatch.setattr(timm, "create_model", no_network)
    with pytest.raises(UserError, match=r"resnet10t cannot be downloaded.*pretrained=false"):
        small_model("removed", pretrained=True)


def test_errors_for_unknown_models_and_arguments_suggest_known_ones():
    with pytest.raises(UserError, match="did you mean 'genconvit_ed'"):
        build_model("genconvit_de")
    with pytest.raises(UserError, match="unexpected keyword argument 'bakbone'; its arguments are backbone, "):
        build_model("genconvit_ed", bakbone="resnet18")
