"""Saves work in the layers of the backbone that are not trained."""

from collections.abc import Callable, Sequence

import torch
from timm.models import EfficientNet
from torch import Tensor, nn

from deepfake_ms.models.genconvit.folding import fold


def features_of_both(backbone: nn.Module, first: Tensor, second: Tensor) -> Tensor:
    """The backbone's feature maps ``[2B, C, h, w]`` of two views ``[B, 3, h, w]``, computed as one batch.

    The first layers of an EfficientNet that are frozen, or all of its layers in evaluation, have their BatchNorms
    folded into the convolutions. In training, the frozen layers also compute each view separately. The image needs no
    gradient, so autograd omits its half of their backward pass. The reconstruction needs one, to train the autoencoder;
    in one batch, both would get it. The result is the same up to rounding.
    """
    layers = _layers(backbone)
    fixed = _count_fixed(layers)
    if not fixed:
        return backbone.forward_features(torch.cat([first, second]))
    views = [first, second] if torch.is_grad_enabled() else [torch.cat([first, second])]
    # Compiled and exported graphs get the layers as they are.
    below = layers[:fixed] if torch.compiler.is_compiling() else fold(layers[:fixed])
    both = torch.cat([_run(below, view) for view in views])
    return _run(layers[fixed:], both)


def _layers(backbone: nn.Module) -> list[nn.Module]:
    """The layers of an EfficientNet's ``forward_features``, in order; none for other backbones."""
    if not isinstance(backbone, EfficientNet) or backbone.grad_checkpointing:
        return []
    return [backbone.conv_stem, backbone.bn1, *backbone.blocks, backbone.conv_head, backbone.bn2]


def _count_fixed(layers: Sequence[nn.Module]) -> int:
    """The number of layers before the first one that is trained, or whose gradient is needed."""
    for number, layer in enumerate(layers):
        trained = torch.is_grad_enabled() and any(parameter.requires_grad for parameter in layer.parameters())
        if layer.training or trained:
            return number
    return len(layers)


def _run(layers: Sequence[Callable[[Tensor], Tensor]], features: Tensor) -> Tensor:
    for layer in layers:
        features = layer(features)
    return features
