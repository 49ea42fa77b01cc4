"""Skips a part of the backward pass that is not needed while the first layers of the backbone are frozen."""

from collections.abc import Sequence

import torch
from timm.models import EfficientNet
from torch import Tensor, nn


def features_of_both(backbone: nn.Module, first: Tensor, second: Tensor) -> Tensor:
    """The backbone's feature maps ``[2B, C, h, w]`` of two views ``[B, 3, h, w]``, computed as one batch.

    In training, the frozen first layers of an EfficientNet compute each view separately, with the same result up to
    rounding. The image needs no gradient, so autograd omits its half of their backward pass. The reconstruction needs
    one, to train the autoencoder; in one batch, both would get it.
    """
    layers = _layers(backbone) if torch.is_grad_enabled() else []
    frozen = _count_frozen(layers)
    if not frozen:
        return backbone.forward_features(torch.cat([first, second]))
    both = torch.cat([_run(layers[:frozen], view) for view in (first, second)])
    return _run(layers[frozen:], both)


def _layers(backbone: nn.Module) -> list[nn.Module]:
    """The layers of an EfficientNet's ``forward_features``, in order; none for other backbones."""
    if not isinstance(backbone, EfficientNet) or backbone.grad_checkpointing:
        return []
    return [backbone.conv_stem, backbone.bn1, *backbone.blocks, backbone.conv_head, backbone.bn2]


def _count_frozen(layers: Sequence[nn.Module]) -> int:
    """The number of frozen layers before the first one that is trained."""
    for number, layer in enumerate(layers):
        if layer.training or any(parameter.requires_grad for parameter in layer.parameters()):
            return number
    return len(layers)


def _run(layers: Sequence[nn.Module], image: Tensor) -> Tensor:
    for layer in layers:
        image = layer(image)
    return image
