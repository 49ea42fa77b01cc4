"""What can be explained of a detector: each input of its backbone, with the feature map that belongs to it.

GenConViT passes two views of a face through one backbone, the image and its reconstruction. The released Grad-CAM
script registers its hooks once for both and pairs the activations of one pass with the gradients of the other. Here,
every view is a network of its own, in which only this view's pass is exposed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from deepfake_ms.errors import UserError
from deepfake_ms.models.base import DetectionModel
from deepfake_ms.models.genconvit import GenConViT
from deepfake_ms.models.genconvit.network import GenConViTNetwork
from deepfake_ms.models.recce import RECCE

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


def views_of(model: DetectionModel) -> list[View]:
    """The views of a detector: one, or two of each GenConViT network.

    Args:
        model: put into evaluation mode.

    Raises:
        UserError: the model has no feature map [B, C, h, w] or [B, h, w, C].
    """
    model.eval()
    if isinstance(model, GenConViT):
        return [
            *_views_of_network(model.ed, "ed "),
            *_views_of_network(model.vae, "vae "),
        ]
    if isinstance(model, GenConViTNetwork):
        return list(_views_of_network(model))
    backbone = getattr(model, "backbone", None)
    if isinstance(backbone, VisionTransformer):
        # The classifier may read the class token only, so that behind the last block, patch tokens have no gradient.
        return [View(IMAGE, model, backbone.blocks[-1].norm1, partial(_grid, backbone=backbone), backbone)]
    transformer = backbone if isinstance(backbone, SwinTransformer) else None
    return [View(IMAGE, model, model.feature_map, _layout(model, model, backbone), transformer)]


def reconstruct(model: DetectionModel, image: Tensor) -> dict[str, Tensor]:
    """The reconstructions of normalised images by a detector that makes them (GenConViT, RECCE).

    Not all are trained to resemble the face: by default, GenConViT-ED has no reconstruction loss, and RECCE's covers
    real faces only.

    Returns:
        Name, with the network's name in the ensemble, → [B, 3, h, w] in 0..1; empty for other detectors.
    """
    if isinstance(model, RECCE):
        return {RECONSTRUCTION: (model.analyse(image).reconstruction + 1) / 2}
    networks = {"ed ": model.ed, "vae ": model.vae} if isinstance(model, GenConViT) else {"": model}
    found = {}
    for name, network in networks.items():
        if isinstance(network, GenConViTNetwork):
            made = network.views(image)[RECONSTRUCTION]
            if getattr(network, "variational", None) == "as_released":  # trained to resemble the normalised image
                made = network.in_unit_range(made)
            found[f"{name}{RECONSTRUCTION}"] = made.clamp(0, 1)
    return found


class OnePass(nn.Module):
    """A GenConViT network in which only one view's feature map is exposed, as `feature_map`.

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
        # The exposed pass is the last one, which attention rollout relies on.
        passes = sorted(views, key=lambda name: name == self.view)
        vectors = {name: self.network.feature_vectors(views[name], taps[name]) for name in passes}
        return self.network.decide(*(vectors[name] for name in views))


def _views_of_network(network: GenConViTNetwork, prefix: str = "") -> Iterator[View]:
    for name in (IMAGE, RECONSTRUCTION):
        alone = OnePass(network, name).eval()
        to_map = _layout(alone, network, network.backbone)
        transformer = network.embedder if network.swin == "live" else None
        yield View(f"{prefix}{name}", alone, alone.feature_map, to_map, transformer)


def _grid(tokens: Tensor, backbone: VisionTransformer) -> Tensor:
    """Patch tokens [B, N, C] without class and register tokens as a map [B, C, h, w]."""
    height, width = backbone.patch_embed.grid_size
    return tokens[:, backbone.num_prefix_tokens :].transpose(1, 2).unflatten(2, (height, width))


@torch.no_grad()
def _layout(network: nn.Module, model: DetectionModel, backbone: nn.Module | None) -> Callable[[Tensor], Tensor]:
    """How the output of `network.feature_map` becomes a map [B, C, h, w]: unchanged, or from [B, h, w, C].

    Raises:
        UserError: it is never called, or its output is neither.
    """
    outputs: list[Tensor] = []
    handle = network.feature_map.register_forward_hook(lambda _module, _arguments, output: outputs.append(output))
    network(torch.zeros(1, 3, model.input_size, model.input_size, device=next(model.parameters()).device))
    handle.remove()
    channels = getattr(backbone, "num_features", None)
    if outputs and outputs[0].ndim == 4:
        if channels in (None, outputs[0].shape[1]):
            return lambda features: features
        if channels == outputs[0].shape[3]:
            return lambda features: features.permute(0, 3, 1, 2)
    what = f"{type(model).__name__}{f' with a {type(backbone).__name__}' if backbone else ''}"
    raise UserError(
        f"{what} has no feature map to explain: its forward method must pass a map [B, C, h, w] or [B, h, w, C] "
        "through self.feature_map."
    )
