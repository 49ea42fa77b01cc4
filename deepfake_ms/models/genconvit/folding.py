"""Fixed layers of an EfficientNet without their BatchNorms: the same result up to rounding, with less work."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from timm.layers import BatchNormAct2d
from timm.models._efficientnet_blocks import DepthwiseSeparableConv, InvertedResidual
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.fusion import fuse_conv_bn_weights

BLOCKS = (DepthwiseSeparableConv, InvertedResidual)


def fold(layers: Iterable[nn.Module]) -> list[Callable[[Tensor], Tensor]]:
    """What `layers` compute one after the other in evaluation mode, with every BatchNorm folded into a convolution.

    A BatchNorm that directly follows a convolution only scales and shifts its channels, which other weights of the
    convolution do as well. They are computed here from the present weights and statistics, so fold anew after these
    have changed. Layers that are not known to be a convolution and a BatchNorm are returned as they are. No gradient
    reaches the weights.
    """
    rest = [part for layer in layers for part in (layer if isinstance(layer, nn.Sequential) else [layer])]
    folded: list[Callable[[Tensor], Tensor]] = []
    while rest:
        layer = rest.pop(0)
        if rest and _is_pair(layer, rest[0]):
            folded.append(_Convolution.fold(layer, rest.pop(0)))
        else:
            folded.append(_Block.fold(layer) or layer)
    return folded


@dataclass(frozen=True)
class _Convolution:
    """A convolution with the weights of the BatchNorm after it, and that BatchNorm's activation."""

    layer: nn.Conv2d
    weights: dict[str, Tensor]
    activation: nn.Module

    @classmethod
    def fold(cls, layer: nn.Conv2d, norm: BatchNormAct2d) -> "_Convolution":
        batch_norm = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
        weight, bias = fuse_conv_bn_weights(layer.weight, layer.bias, *batch_norm)
        return cls(layer, {"weight": weight.detach(), "bias": bias.detach()}, norm.act)

    def __call__(self, features: Tensor) -> Tensor:
        return self.activation(functional_call(self.layer, self.weights, features))


@dataclass(frozen=True)
class _Block:
    """Folded convolutions one after the other, with or without a skip connection."""

    convolutions: list[_Convolution]
    has_skip: bool

    @classmethod
    def fold(cls, block: nn.Module) -> "_Block | None":
        """None if the block has other layers, such as squeeze-and-excitation."""
        layers = [layer for layer in block.children() if not isinstance(layer, nn.Identity)]
        pairs = list(zip(layers[::2], layers[1::2], strict=False))
        if not isinstance(block, BLOCKS) or len(layers) % 2 or not all(_is_pair(*pair) for pair in pairs):
            return None
        return cls([_Convolution.fold(*pair) for pair in pairs], block.has_skip)

    def __call__(self, features: Tensor) -> Tensor:
        output = features
        for convolution in self.convolutions:
            output = convolution(output)
        return output + features if self.has_skip else output


def _is_pair(layer: nn.Module, norm: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and isinstance(norm, BatchNormAct2d)
