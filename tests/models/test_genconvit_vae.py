"""GenConViT-VAE and the ensemble: released parameter counts, loss terms, and randomness."""

import json
import math

import pytest
import torch
from torch.nn import functional

from deepfake_ms.errors import UserError
from deepfake_ms.models import build_model

BACKBONE = {
    "backbone": "resnet10t",
    "backbone_options": {"layers": (1, 1, 1, 1), "channels": (8, 16, 32, 64), "stem_width": 4, "zero_init_last": False},
    "embedder_options": {"embed_dim": 48, "depths": (1,), "num_heads": (3,), "drop_path_rate": 0.0},
    "pretrained": False,
    "input_size": 64,
    "features": 32,
}
VAE = {"channels": (8, 16, 32), "latent_features": 128, "autoencoder_init": "he"}
ED = {"channels": (8, 16, 32), "autoencoder_init": "he"}
MODES = [("as_described", "live"), ("as_described", "removed"), ("as_released", "as_released")]
MODES += [("as_released", "removed")]


def small_vae(variational: str = "as_described", swin: str = "live", seed: int = 0, **changes):
    torch.manual_seed(seed)
    return build_model("genconvit_vae", **(BACKBONE | VAE | {"variational": variational, "swin": swin} | changes))


def small_ensemble(swin: str = "live", seed: int = 0, **changes):
    torch.manual_seed(seed)
    return build_model("genconvit", **(BACKBONE | {"ed": ED, "vae": VAE, "swin": swin} | changes))


def images(count: int = 2, size: int = 64) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def batch(count: int = 4) -> dict[str, torch.Tensor]:
    return {"image": images(count), "label": torch.arange(count) % 2}


def terms_of(model, seed: int = 3) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return model.loss_terms(batch(), functional.cross_entropy)


def frozen(model) -> set[str]:
    return {name for name, weight in model.named_parameters() if not weight.requires_grad}


# --- the released network


def test_released_vae_has_695_million_parameters_half_of_them_frozen():
    with torch.device("meta"):  # 2.8 GB otherwise
        model = build_model("genconvit_vae", variational="as_released", swin="as_released", pretrained=False)
    count = {name: weight.numel() for name, weight in model.named_parameters()}
    assert sum(count.values()) == 695_210_767
    assert sum(count[name] for name in frozen(model)) == 350_729_718
    swin = {name for name in count if name.startswith(("embedder.", "backbone.patch_embed."))}
    layers = ("encoder.var", "encoder.fc1", "encoder.fc2", "fc3")
    assert frozen(model) == swin | {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    assert sum(count[name] for name in swin) == 29_057_122
    assert count["encoder.mu.weight"] == count["encoder.var.weight"] == 128 * 14 * 14 * 12544


def test_released_vae_matches_the_rounded_count_of_the_authors_code(shared):
    expected = json.loads((shared / "fixtures/parameter_counts.json").read_text())["genconvit_vae"]["total"]
    assert round(695_210_767, -5) == expected


def test_released_reconstruction_has_half_the_size_of_the_described_one():
    for variational, size in (("as_described", 64), ("as_released", 32)):
        model = small_vae(variational, "removed")
        sizes = []
        model.decoder.register_forward_hook(lambda module, _, output, sizes=sizes: sizes.append(output.shape))
        model(images())
        assert sizes == [(2, 3, size, size)]


def test_full_size_decoders_start_with_the_right_widths_and_grids():
    with torch.device("meta"):
        decoders = [
            build_model("genconvit_vae", variational=variational, swin="removed", pretrained=False).decoder
            for variational in ("as_described", "as_released")
        ]
    assert [decoder.unflatten.unflattened_size for decoder in decoders] == [(64, 14, 14), (256, 7, 7)]
    assert [decoders[1].features[layer].out_channels for layer in (0, 2, 4, 6)] == [64, 32, 16, 3]


def test_released_standard_deviation_comes_from_the_mean():
    model = small_vae("as_released", "removed").train()
    torch.nn.init.zeros_(model.encoder.mu.weight)
    torch.nn.init.constant_(model.encoder.mu.bias, 2 * math.log(3))
    latents = []
    model.decoder.register_forward_pre_hook(lambda module, arguments: latents.append(arguments[0].detach()))
    torch.manual_seed(0)
    model(images(64))
    deviation, mean = torch.std_mean(latents[0])
    assert deviation == pytest.approx(3, rel=0.03)
    assert mean == pytest.approx(2 * math.log(3), abs=0.1)


def test_described_standard_deviation_comes_from_its_own_layer():
    model = small_vae().train()
    for layer, value in ((model.encoder.mu, 5.0), (model.encoder.var, 2 * math.log(0.5))):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.constant_(layer.bias, value)
    latents = []
    model.decoder.register_forward_pre_hook(lambda module, arguments: latents.append(arguments[0].detach()))
    torch.manual_seed(0)
    model(images(64))
    model.eval()(images())
    deviation, mean = torch.std_mean(latents[0])
    assert deviation == pytest.approx(0.5, rel=0.03)
    assert mean == pytest.approx(5, abs=0.02)
    assert torch.equal(latents[1], torch.full_like(latents[1], 5.0))


# --- trained parameters and loss terms


@pytest.mark.parametrize(("variational", "swin"), MODES)
def test_only_frozen_parameters_do_not_learn(variational, swin):
    model = small_vae(variational, swin).train()
    sum(terms_of(model).values()).backward()
    unchanged = {name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()}
    assert unchanged == frozen(model)
    released = {"encoder.var.weight", "encoder.fc1.weight", "encoder.fc2.weight", "fc3.weight"}
    assert (released <= unchanged) == (variational == "as_released")


def test_frozen_layers_of_the_release_get_no_gradient_even_when_unfrozen():
    model = small_vae("as_released", "as_released").train()
    unused = frozen(model)
    model.requires_grad_(True)
    sum(terms_of(model).values()).backward()
    assert {name for name, weight in model.named_parameters() if weight.grad is None} == unused


def test_described_terms_equal_their_definitions():
    model = small_vae(reconstruction_weight=0.5, kl_weight=3.0).train()
    terms = terms_of(model)
    assert list(terms) == ["classification", "reconstruction", "kl"]
    image, label = batch().values()
    mean, log_variance = model.encoder(image)
    torch.manual_seed(3)
    reconstruction = model.decoder(mean + torch.randn_like(mean) * (log_variance / 2).exp())
    colours = image * torch.tensor(model.std).view(3, 1, 1) + torch.tensor(model.mean).view(3, 1, 1)
    torch.testing.assert_close(terms["reconstruction"], 0.5 * (reconstruction - colours).square().mean())
    logits = model.classify(image, reconstruction)
    torch.testing.assert_close(terms["classification"], functional.cross_entropy(logits, label))
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    divergence = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0, 1)).sum(dim=1).mean()
    torch.testing.assert_close(terms["kl"], 3.0 * divergence / (3 * 64 * 64))


def test_released_terms_omit_kl_and_compare_the_enlarged_reconstruction_with_the_normalised_image():
    model = small_vae("as_released", "removed", kl_weight=1.0).eval()
    terms = terms_of(model)
    assert list(terms) == ["classification", "reconstruction"]
    mean, _ = model.encoder(images(4))
    small = model.decoder(mean + model.evaluation_noise * (mean / 2).exp())
    enlarged = functional.interpolate(small, size=64, mode="bilinear")
    torch.testing.assert_close(terms["reconstruction"], functional.mse_loss(enlarged, images(4)))


def test_zero_weights_omit_their_terms():
    assert list(terms_of(small_vae(reconstruction_weight=0.0, kl_weight=0.0))) == ["classification"]


def test_loss_is_finite_with_a_huge_log_variance():
    model = small_vae().train()
    torch.nn.init.constant_(model.encoder.var.bias, 1e6)
    assert all(term.isfinite() for term in terms_of(model).values())


# --- randomness


@pytest.mark.parametrize(("variational", "swin"), MODES)
def test_latents_are_sampled_in_training_only(variational, swin):
    model = small_vae(variational, swin).train()
    first, same, other = (terms_of(model, seed)["reconstruction"] for seed in (3, 3, 4))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)

    model.eval()
    torch.manual_seed(5)
    logits = model(images(3))
    assert torch.equal(logits, model(images(3)))
    torch.testing.assert_close(model(images(3)[:1]), logits[:1], atol=1e-5, rtol=1e-4)


def test_released_evaluation_uses_the_same_noise_in_every_model():
    first, second = small_vae("as_released", "removed"), small_vae("as_released", "removed", seed=1)
    assert torch.equal(first.evaluation_noise, second.evaluation_noise)
    assert torch.std(first.evaluation_noise) == pytest.approx(1, abs=0.2)
    assert "evaluation_noise" not in first.state_dict()
    without = small_vae("as_released", "removed").eval()
    without.evaluation_noise.zero_()
    assert not torch.equal(without(images()), first.eval()(images()))


@pytest.mark.parametrize(("variational", "swin"), MODES)
def test_reloaded_weights_give_the_same_logits_for_one_face(variational, swin, tmp_path):
    model, other = small_vae(variational, swin).eval(), small_vae(variational, swin, seed=1).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(model(images(1)), other(images(1)))


def test_removed_computes_the_released_function():
    removed, released = (small_vae("as_released", swin).eval() for swin in ("removed", "as_released"))
    assert torch.equal(removed(images()), released(images()))


@pytest.mark.parametrize(("variational", "swin"), MODES)
def test_exported_program_gives_the_same_logits(variational, swin):
    model = small_vae(variational, swin).eval()
    exported = torch.export.export(model, (images(),)).module()
    torch.testing.assert_close(exported(images()), model(images()), atol=1e-5, rtol=1e-4)


# --- the ensemble


@pytest.mark.parametrize("swin", ["live", "removed"])
def test_ensemble_averages_probabilities(swin):
    model = small_ensemble(swin).eval()
    mean = (model.ed(images()).softmax(dim=1) + model.vae(images()).softmax(dim=1)) / 2
    torch.testing.assert_close(model(images()).softmax(dim=1), mean)


def test_released_ensemble_averages_sigmoids():
    model = small_ensemble(average="as_released").eval()
    with torch.no_grad():
        model.ed.fc2.bias.copy_(torch.tensor([3.0, 1.0]))
    mean = (model.ed(images()).sigmoid() + model.vae(images()).sigmoid()) / 2
    torch.testing.assert_close(model(images()).exp(), mean)
    probabilities = small_ensemble().eval()
    probabilities.load_state_dict(model.state_dict())
    assert not torch.allclose(probabilities(images()).softmax(dim=1), mean / mean.sum(dim=1, keepdim=True))


def test_ensemble_members_equal_separately_built_networks():
    ensemble = small_ensemble()
    torch.manual_seed(0)
    ed = build_model("genconvit_ed", **BACKBONE, **ED)
    assert all(torch.equal(ed.state_dict()[key], weight) for key, weight in ensemble.ed.state_dict().items())
    assert (ensemble.mean, ensemble.std, ensemble.input_size) == (ed.mean, ed.std, 64)


def test_joint_training_equals_separate_training():
    # With stochastic depth, ED draws random numbers too.
    drop = {"embedder_options": BACKBONE["embedder_options"] | {"drop_path_rate": 0.5, "depths": (2,)}}
    joint = small_ensemble(**drop).train()
    separate = {
        "ed": build_model("genconvit_ed", **(BACKBONE | ED | drop)).train(),
        "vae": build_model("genconvit_vae", **(BACKBONE | VAE | drop)).train(),
    }
    for name, network in separate.items():
        network.load_state_dict(getattr(joint, name).state_dict())
    models = [joint, *separate.values()]
    optimizers = [torch.optim.AdamW([w for w in model.parameters() if w.requires_grad], lr=1e-2) for model in models]
    for step in range(3):
        terms = [terms_of(model, seed=step) for model in models]
        named = {}
        for name, each in zip(separate, terms[1:], strict=True):
            named |= {f"{name}/{term}": value for term, value in each.items()}
        assert terms[0].keys() == named.keys()
        assert all(torch.equal(terms[0][name], named[name]) for name in named)
        for each, optimizer in zip(terms, optimizers, strict=True):
            optimizer.zero_grad()
            sum(each.values()).backward()
            optimizer.step()
    for name, network in separate.items():
        for key, weight in getattr(joint, name).state_dict().items():
            torch.testing.assert_close(weight, network.state_dict()[key], msg=key)


# --- invalid settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variational": "released"}, "as_described, as_released"),
        ({"variational": "as_released"}, "swin=live.*half the height.*swin=as_released or swin=removed"),
        ({"input_size": 100}, "multiple of 8.*choose 96"),
        ({"variational": "as_released", "swin": "removed", "input_size": 72}, "multiple of 16.*choose 64"),
        ({"latent_features": 100}, "8x8 grid.*multiple of 64"),
        ({"latent_features": 0}, "8x8 grid.*multiple of 64"),
        ({"kl_weight": -0.1}, "kl_weight=-0.1.*0 or more"),
        ({"reconstruction_weight": float("inf")}, "reconstruction_weight=inf.*0 or more"),
    ],
)
def test_errors_for_invalid_vae_settings_name_the_remedy(changes, message):
    with pytest.raises(UserError, match=message):
        small_vae(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"average": "logits"}, "probabilities, as_released"),
        ({"vae": VAE | {"latent": 3}}, "vae.latent is unknown.*latent_features"),
        ({"ed": ED | {"swin": "removed"}}, "ed.swin is unknown.*share directly in model"),
        ({"checkpoint": {"a": "x.pth"}}, "checkpoint has the keys a: use only ed and vae"),
    ],
)
def test_errors_for_invalid_ensemble_settings_name_the_remedy(changes, message):
    with pytest.raises(UserError, match=message):
        small_ensemble(**changes)


def test_images_of_another_size_are_rejected():
    for model in (small_vae(), small_ensemble()):
        with pytest.raises(UserError, match="48x48 pixels, but the model expects 64x64"):
            model(images(size=48))
