"""Folds the BatchNorms of an EfficientNet into its convolutions: less work, and the same result up to rounding."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from timm.layers import BatchNormAct2d, Conv2dSame, get_same_padding
from timm.models._efficientnet_blocks import DepthwiseSeparableConv, InvertedResidual
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

BLOCKS = (DepthwiseSeparableConv, InvertedResidual)


def fold(layers: Iterable[nn.Module]) -> list[Callable[[Tensor], Tensor]]:
    """Functions that, one after the other, compute the same as `layers` in evaluation mode, without their BatchNorms.

    In evaluation mode, a BatchNorm only scales and shifts the channels of the convolution before it, so the weights of
    the convolution can do it as well. They are computed from the present weights and statistics: fold again after
    these have changed. Layers with other parts, such as squeeze-and-excitation, are returned as they are. Each function
    takes and returns feature maps ``[B, C, h, w]``. Gradients reach the input, but not the folded weights.
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
    """A convolution into which the BatchNorm after it is folded, and the activation of that BatchNorm."""

    layer: nn.Conv2d
    weight: Tensor
    bias: Tensor
    activation: nn.Module

    @classmethod
    def fold(cls, layer: nn.Conv2d, norm: BatchNormAct2d) -> "_Convolution":
        batch_norm = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
        weight, bias = fuse_conv_bn_weights(layer.weight, layer.bias, *batch_norm)
        return cls(layer, weight.detach(), bias.detach(), norm.act)

    def __call__(self, features: Tensor) -> Tensor:
        layer = self.layer
        if isinstance(layer, Conv2dSame) and layer.groups > 1 and layer.dilation == (1, 1):
            features = self._convolve_same(features)
        else:
            features = functional_call(layer, {"weight": self.weight, "bias": self.bias}, features)
        if isinstance(self.activation, nn.ReLU6) and features.requires_grad:
            return _ReLU6.apply(features)
        return self.activation(features)

    def _convolve_same(self, features: Tensor) -> Tensor:
        """As `Conv2dSame`, but pads the small kernel of a depthwise convolution instead of the large feature map.

        TensorFlow's padding may add one more row or column after the feature map than before it. Equal paddings, and a
        row or column of zeros before the kernel, give the same result.
        """
        layer = self.layer
        sizes = zip(features.shape[2:], layer.kernel_size, layer.stride, layer.dilation, strict=True)
        rows, columns = (get_same_padding(*each) for each in sizes)
        kernel = F.pad(self.weight, (columns % 2, 0, rows % 2, 0))
        padding = ((rows + 1) // 2, (columns + 1) // 2)
        return F.conv2d(features, kernel, self.bias, layer.stride, padding, groups=layer.groups)


class _ReLU6(torch.autograd.Function):
    """ReLU6 in place. Keeps its output for the backward pass, where torch's keeps a copy of its input."""

    @staticmethod
    def forward(ctx, features: Tensor) -> Tensor:
        ctx.mark_dirty(features.clamp_(0, 6))
        ctx.save_for_backward(features)
        return features

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        (output,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(gradient, output, 0, 6)


@dataclass(frozen=True)
class _Block:
    """The folded convolutions of a block, with or without a skip connection."""

    convolutions: list[_Convolution]
    has_skip: bool

    @classmethod
    def fold(cls, block: nn.Module) -> "_Block | None":
        """None if the block has other parts."""
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
