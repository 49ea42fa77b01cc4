"""Attributions: equal to slow computations by hand, one pass of GenConViT at a time."""

import cv2
import numpy as np
import pytest
import torch
from timm.models import create_model
from torch import nn

from deepfake_ms.errors import UserError
from deepfake_ms.explanation import METHODS
from deepfake_ms.explanation.attribution import attribute, log_odds
from deepfake_ms.explanation.rollout import attention_rollout
from deepfake_ms.explanation.views import View, reconstruct, views_of
from deepfake_ms.models import build_model
from deepfake_ms.models.base import DetectionModel

SIZE = 32
NETWORK = {
    "backbone": "resnet18",
    "embedder": "swin_tiny_patch4_window7_224",
    "swin": "live",
    "pretrained": False,
    "input_size": SIZE,
    "features": 8,
    "backbone_options": {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "output_stride": 8},
    "embedder_options": {"embed_dim": 8, "depths": [2], "num_heads": [2]},
}
VAE = {"channels": [4, 8], "latent_features": 64}


def network(name="genconvit_ed", **changes):
    torch.manual_seed(0)
    channels = {"genconvit_ed": {"channels": [4, 8]}, "genconvit_vae": VAE}[name]
    return build_model(name, **NETWORK | channels | changes).eval()


@pytest.fixture
def image():
    return torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


CLASSES = torch.tensor([1, 0, 1])


def maps_by_hand(model, image, classes):
    """Activations of each view's pass and gradients of the log-odds, one face at a time: view → lists."""
    found = {"image": [], "reconstruction": []}
    for face, label in zip(image.split(1), classes, strict=True):
        views = model.views(face)
        if model.swin == "live":
            activations = {name: model.backbone(view).detach().requires_grad_() for name, view in views.items()}
            vectors = [model.embedder(each) for each in activations.values()]
        else:
            activations = {
                name: model.backbone.forward_features(view).detach().requires_grad_() for name, view in views.items()
            }
            vectors = [model.backbone.forward_head(each) for each in activations.values()]
        logits = model.fc2(model.activation(model.fc(model.activation(torch.cat(vectors, dim=1)))))[0]
        gradients = torch.autograd.grad(logits[label] - logits[1 - label], list(activations.values()))
        for (name, activation), gradient in zip(activations.items(), gradients, strict=True):
            found[name].append((activation.detach()[0].numpy(), gradient[0].numpy()))
    return found


def gradcam_by_hand(activation, gradient):
    heat = np.maximum((gradient.mean(axis=(1, 2))[:, None, None] * activation).sum(axis=0), 0)
    heat = cv2.resize(heat, (SIZE, SIZE))
    return heat / heat.max() if heat.max() > 0 else heat


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("genconvit_ed", {}),
        ("genconvit_ed", {"swin": "removed"}),
        ("genconvit_vae", {}),
        ("genconvit_vae", {"swin": "removed", "variational": "as_released"}),  # views of two sizes
    ],
)
def test_gradcam_of_each_pass_equals_a_computation_by_hand(name, changes, image):
    model = network(name, **changes)
    by_hand = maps_by_hand(model, image, CLASSES)
    views = {view.name: view for view in views_of(model)}
    assert set(views) == {"image", "reconstruction"}
    for view_name, view in views.items():
        with torch.no_grad():
            torch.testing.assert_close(view.network(image), model(image))
        maps = attribute(view, image, CLASSES, "gradcam")
        assert maps.shape == (3, SIZE, SIZE)
        for heat, (activation, gradient) in zip(maps, by_hand[view_name], strict=True):
            np.testing.assert_allclose(heat, gradcam_by_hand(activation, gradient), atol=1e-3)


def test_pairing_the_passes_as_released_gives_another_map(image):
    """Activations of the image with the gradients of the reconstruction: the bug of the released script."""
    model = network()
    by_hand = maps_by_hand(model, image, CLASSES)
    view = next(each for each in views_of(model) if each.name == "image")
    maps = attribute(view, image, CLASSES, "gradcam")
    mixed = [
        gradcam_by_hand(activation, gradient)
        for (activation, _), (_, gradient) in zip(by_hand["image"], by_hand["reconstruction"], strict=True)
    ]
    assert np.abs(maps - np.stack(mixed)).mean() > 0.05


def test_members_of_the_ensemble_are_explained_apart(image):
    torch.manual_seed(0)
    model = build_model("genconvit", **NETWORK, ed={"channels": [4, 8]}, vae=VAE)
    views = {view.name: view for view in views_of(model)}
    assert list(views) == ["ed image", "ed reconstruction", "vae image", "vae reconstruction"]
    alone = next(view for view in views_of(model.vae) if view.name == "reconstruction")
    ours = attribute(views["vae reconstruction"], image, CLASSES, "gradcam")
    np.testing.assert_array_equal(ours, attribute(alone, image, CLASSES, "gradcam"))
    assert {name: tuple(made.shape) for name, made in reconstruct(model, image).items()} == {
        "ed reconstruction": (3, 3, SIZE, SIZE),
        "vae reconstruction": (3, 3, SIZE, SIZE),
    }


def test_attribution_leaves_the_model_as_it_was(image):
    model = network()
    model.backbone.conv1.requires_grad_(False)
    before = [each.requires_grad for each in model.parameters()]
    for view in views_of(model):
        attribute(view, image, CLASSES, "gradcam_plus_plus")
        attribute(view, image, CLASSES, "rollout")
        assert not view.layer._forward_hooks
    assert [each.requires_grad for each in model.parameters()] == before
    assert all(each.grad is None for each in model.parameters())


def test_rollout_of_a_vit_is_the_product_of_its_attention(image):
    torch.manual_seed(0)
    options = {"embed_dim": 16, "depth": 3, "num_heads": 2}
    model = build_model(
        "timm_classifier", backbone="vit_tiny_patch16_224", pretrained=False, input_size=SIZE, backbone_options=options
    )
    (view,) = views_of(model)
    seen = []
    for block in model.backbone.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda _m, _a, output: seen.append(output.mean(dim=1)))
    with torch.no_grad():
        model(image)
    product = torch.eye(5)
    for attention in list(seen):
        product = (torch.eye(5) + attention) / 2 @ product
    wanted = product[:, 0, 1:].reshape(3, 2, 2)
    torch.testing.assert_close(attention_rollout(view.network, view.transformer, image), wanted)


def test_rollout_of_a_swin_is_the_product_of_its_windows():
    """Against matrices over all tokens, built by sending single tokens through shifted windows and merging."""
    torch.manual_seed(0)
    options = {"embed_dim": 8, "depths": (2, 2), "num_heads": (2, 2), "img_size": 48, "window_size": 4}
    swin = create_model("swin_tiny_patch4_window7_224", num_classes=2, **options).eval()
    image = torch.randn(2, 3, 48, 48)
    seen = []
    blocks = [block for stage in swin.layers for block in stage.blocks]
    assert [block.shift_size for block in blocks] == [(0, 0), (2, 2), (0, 0), (2, 2)]
    for block in blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda _m, _a, output: seen.append(output.mean(dim=1)))
    with torch.no_grad():
        swin(image)
    layers = list(seen)
    for face in range(2):
        matrix = torch.eye(144)
        for number, (block, attention) in enumerate(zip(blocks, layers, strict=True)):
            side = 12 if number < 2 else 6
            if number == 2:
                matrix = merging(12) @ matrix
            windows = attention.unflatten(0, (2, -1))[face]
            matrix = (torch.eye(side**2) + window_matrix(side, block.shift_size[0], windows)) / 2 @ matrix
        wanted = matrix.mean(dim=0).view(12, 12)
        torch.testing.assert_close(attention_rollout(swin, swin, image)[face], wanted)


def merging(side):
    matrix = torch.zeros(side // 2, side // 2, side, side)
    for row in range(side):
        for column in range(side):
            matrix[row // 2, column // 2, row, column] = 1 / 4
    return matrix.view((side // 2) ** 2, side**2)


def window_matrix(side, shift, windows, window=4):
    """Attention over all tokens; tokens beyond the grid were padded and are lost."""
    padded = -(-side // window) * window
    matrix = torch.zeros(side, side, side, side)
    place = [(row, column) for row in range(window) for column in range(window)]
    for number, attention in enumerate(windows):
        top, left = (each * window for each in divmod(number, padded // window))
        tokens = [(top + row, left + column) for row, column in place]
        for query, (row, column) in enumerate(tokens):
            for value, (other_row, other_column) in enumerate(tokens):
                if max(row, column, other_row, other_column) < side:
                    to = (row + shift) % side, (column + shift) % side
                    from_ = (other_row + shift) % side, (other_column + shift) % side
                    matrix[(*to, *from_)] += attention[query, value]
    return matrix.view(side**2, side**2)


class Quadrant(DetectionModel):
    """Classifies by the brightness of the lower right quarter."""

    mean = std = (0.5, 0.5, 0.5)

    def __init__(self):
        super().__init__()
        self.input_size = SIZE
        self.scale = nn.Parameter(torch.tensor(4.0))

    def forward(self, image):
        self.feature_map(image)
        fake = self.scale * image[:, :, SIZE // 2 :, SIZE // 2 :].mean(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(fake), fake], dim=1)


def test_lime_finds_what_a_planted_detector_uses():
    (view,) = views_of(Quadrant())
    bright = torch.full((1, 3, SIZE, SIZE), -1.0)
    bright[:, :, SIZE // 2 :] = 1.0
    (heat,) = attribute(view, bright, torch.tensor([1]), "lime")
    state = torch.get_rng_state()
    attribute(view, bright, torch.tensor([1]), "lime")
    assert torch.equal(torch.get_rng_state(), state)
    inside = heat[SIZE // 2 :, SIZE // 2 :].sum()
    assert inside > 0.9 * heat.sum()


def test_log_odds():
    logits = torch.tensor([[1.0, 3.0], [1.0, 3.0]])
    assert log_odds(logits, torch.tensor([1, 0])).tolist() == [2.0, -2.0]


def test_impossible_methods_are_refused(image):
    view = View("image", Quadrant(), nn.Identity(), lambda features: features)
    with pytest.raises(UserError, match=f"method=shap is unknown; choose from {', '.join(METHODS)}"):
        attribute(view, image, CLASSES, "shap")
    with pytest.raises(UserError, match="method=rollout needs a Vision Transformer or Swin"):
        attribute(view, image, CLASSES, "rollout")


def test_eigencam_has_the_sign_of_its_largest_value(image):
    (view,) = [each for each in views_of(network()) if each.name == "image"]
    maps = attribute(view, image, CLASSES, "eigencam")
    seen = []
    handle = view.layer.register_forward_hook(lambda _m, _a, output: seen.append(output.detach()))
    with torch.no_grad():
        view.network(image)
    handle.remove()
    for heat, activation in zip(maps, seen[0], strict=True):
        rows = activation.flatten(1).T
        centred = rows - rows.mean(dim=0)
        projection = (centred @ torch.linalg.svd(centred).Vh[0]).view(activation.shape[1:]).numpy()
        projection *= np.sign(projection.flat[np.abs(projection).argmax()])
        wanted = cv2.resize(np.maximum(projection, 0), (SIZE, SIZE))
        np.testing.assert_allclose(heat, wanted / wanted.max(), atol=1e-3)
    np.testing.assert_array_equal(maps, attribute(view, image, 1 - CLASSES, "eigencam"))


@pytest.mark.parametrize("backbone", ["swinv2_tiny_window8_256", "swin_tiny_patch4_window7_224"])
def test_maps_of_channels_last_backbones_are_transposed(backbone):
    options = {"embed_dim": 16, "depths": (1, 1), "num_heads": (2, 2), "window_size": 4}
    torch.manual_seed(0)
    model = build_model("timm_classifier", backbone=backbone, pretrained=False, input_size=64, backbone_options=options)
    (view,) = views_of(model)
    features = model.backbone.forward_features(torch.zeros(1, 3, 64, 64))
    assert view.to_map(features).shape == (1, 32, 8, 8)
    assert attribute(view, torch.randn(2, 3, 64, 64), torch.tensor([0, 1]), "gradcam").shape == (2, 64, 64)


def test_backbones_without_a_map_are_refused():
    """Both passes of GenConViT would go through the same tokens, whose classifier reads the class token only."""
    options = {"backbone_options": {"img_size": SIZE, "embed_dim": 16, "depth": 1, "num_heads": 2}}
    model = network(swin="removed", backbone="vit_tiny_patch16_224", **options)
    with pytest.raises(UserError, match="GenConViTED with a VisionTransformer has no feature map to explain"):
        views_of(model)


def test_a_model_that_never_calls_its_feature_map_is_refused():
    class Blind(Quadrant):
        def forward(self, image):
            return image.mean(dim=(2, 3))[:, :2] * self.scale

    with pytest.raises(UserError, match=r"Blind has no feature map to explain: .* through self.feature_map"):
        views_of(Blind())
