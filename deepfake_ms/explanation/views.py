"""What can be explained of a detector: each input of its backbone, with the feature map that belongs to it.

GenConViT passes two views of a face through one backbone, the image and its reconstruction. The released Grad-CAM
script registers its hooks once for both and pairs the activations of one pass with the gradients of the other. Here,
every view is a network of its own, in which only this view's pass is visible.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Self

import torch
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from deepfake_ms.errors import UserError
from deepfake_ms.models.base import DetectionModel
from deepfake_ms.models.genconvit import GenConViT
from deepfake_ms.models.genconvit.network import GenConViTNetwork

IMAGE, RECONSTRUCTION = "image", "reconstruction"


@dataclass(frozen=True, eq=False)
class View:
    """One input of a detector's backbone.

    Attributes:
        name: ``image`` or ``reconstruction``, after the network's name in the ensemble: ``ed reconstruction``.
        network: maps normalised images [B, 3, S, S] to logits [B, 2], in evaluation mode; for the reconstruction, too,
            the input is the image.
        layer: the module of `network` whose output is explained; it is called once per forward pass.
        to_map: turns the output of `layer` into a map [B, C, h, w].
        transformer: the transformer over this view's tokens, if there is one, for attention rollout; its last call in a
            forward pass is that of this view.
    """

    name: str
    network: nn.Module
    layer: nn.Module
    to_map: Callable[[Tensor], Tensor]
    transformer: nn.Module | None = None

    @classmethod
    def of_backbone(cls, name: str, network: nn.Module, feature_map: nn.Module, backbone: nn.Module | None) -> Self:
        """The view of a network whose last feature map passes through `feature_map`."""
        if isinstance(backbone, VisionTransformer):
            # The classifier reads the class token, so that behind the last block, patch tokens have no gradient.
            return cls(name, network, backbone.blocks[-1].norm1, lambda tokens: _grid(tokens, backbone), backbone)
        if isinstance(backbone, SwinTransformer):
            return cls(name, network, feature_map, lambda tokens: tokens.permute(0, 3, 1, 2), backbone)
        return cls(name, network, feature_map, lambda features: features)


def views_of(model: DetectionModel) -> list[View]:
    """The views of a detector: one, or two of each GenConViT network.

    Args:
        model: put into evaluation mode.

    Raises:
        UserError: the model never calls its `feature_map`.
    """
    model.eval()
    if isinstance(model, GenConViT):
        return [
            *_views_of_network(model.ed, "ed "),
            *_views_of_network(model.vae, "vae "),
        ]
    if isinstance(model, GenConViTNetwork):
        return list(_views_of_network(model))
    view = View.of_backbone(IMAGE, model, model.feature_map, getattr(model, "backbone", None))
    if view.layer is model.feature_map and not _is_called(model):
        raise UserError(
            f"{type(model).__name__} has no feature map to explain: in its forward method, pass the last feature map "
            "[B, C, h, w] through self.feature_map."
        )
    return [view]


def reconstruct(model: DetectionModel, image: Tensor) -> dict[str, Tensor]:
    """The reconstructions of normalised images by each GenConViT network: name of its view → [B, 3, h, w] in 0..1."""
    networks = {"ed ": model.ed, "vae ": model.vae} if isinstance(model, GenConViT) else {"": model}
    return {
        f"{name}{RECONSTRUCTION}": network.views(image)[RECONSTRUCTION].clamp(0, 1)
        for name, network in networks.items()
        if isinstance(network, GenConViTNetwork)
    }


class OnePass(nn.Module):
    """A GenConViT network in which only the feature map of one view is visible, as `feature_map`.

    Args:
        network: to explain.
        view: a key of `network.views`.
    """

    def __init__(self, network: GenConViTNetwork, view: str):
        super().__init__()
        self.network, self.view = network, view
        self.feature_map, self.hidden = nn.Identity(), nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``[B, 2]`` of normalised images ``[B, 3, S, S]``, equal to those of the network."""
        taps = {name: self.feature_map if name == self.view else self.hidden for name in (IMAGE, RECONSTRUCTION)}
        views = self.network.views(image)
        # The visible pass is the last one, which attention rollout relies on.
        passes = sorted(views, key=lambda name: name == self.view)
        vectors = {name: self.network.feature_vectors(views[name], taps[name]) for name in passes}
        return self.network.decide(*(vectors[name] for name in views))


def _views_of_network(network: GenConViTNetwork, prefix: str = "") -> Iterator[View]:
    for name in (IMAGE, RECONSTRUCTION):
        alone = OnePass(network, name).eval()
        view = View.of_backbone(f"{prefix}{name}", alone, alone.feature_map, network.backbone)
        yield replace(view, transformer=network.embedder) if network.swin == "live" else view


def _grid(tokens: Tensor, backbone: VisionTransformer) -> Tensor:
    """Patch tokens [B, N, C] without class and register tokens as a map [B, C, h, w]."""
    height, width = backbone.patch_embed.grid_size
    return tokens[:, backbone.num_prefix_tokens :].transpose(1, 2).unflatten(2, (height, width))


@torch.no_grad()
def _is_called(model: DetectionModel) -> bool:
    calls = []
    handle = model.feature_map.register_forward_hook(lambda *_: calls.append(1))
    model(torch.zeros(1, 3, model.input_size, model.input_size, device=next(model.parameters()).device))
    handle.remove()
    return bool(calls)
