"""Attention rollout: how much each input token contributes to the pooled output, through all layers of a transformer.

Abnar and Zuidema, *Quantifying Attention Flow in Transformers* (ACL 2020). Each layer's attention, averaged over heads,
is mixed equally with the identity, which stands for the residual connection, and the layers are multiplied. The product
is applied to the output's weights from the last layer to the first, so that no matrix over all tokens is built. In
a Swin, attention is confined to (shifted) windows, and a merged token stands for its four parts equally.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from timm.models.swin_transformer import SwinTransformer, SwinTransformerBlock, window_partition, window_reverse
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn


def attention_rollout(network: nn.Module, transformer: nn.Module, image: Tensor) -> Tensor:
    """Rollout of a transformer in `network`.

    Args:
        network: maps normalised images [B, 3, S, S] to logits.
        transformer: a timm Vision Transformer or Swin that `network` calls; the last call counts.
        image: normalised, [B, 3, S, S].

    Returns:
        Non-negative maps over the tokens, [B, h, w]; their sum is 1, less the share of class tokens and of padding.
    """
    with torch.no_grad(), _recorded_layers(transformer) as layers:
        network(image)
    layers = layers[-sum(1 for _ in _blocks(transformer)) :]
    if isinstance(transformer, SwinTransformer):
        return _roll_out_swin(layers, len(image))
    return _roll_out_vit(transformer, layers, len(image))


@dataclass(frozen=True)
class Layer:
    """A layer's attention [B, N, N] ([B * windows, N, N] in a Swin), averaged over heads, and its grid of tokens."""

    attention: Tensor
    block: nn.Module
    grid: tuple[int, ...]


def _blocks(transformer: nn.Module) -> Iterator[nn.Module]:
    return (each for each in transformer.modules() if isinstance(each, (SwinTransformerBlock, Block)))


@contextmanager
def _recorded_layers(transformer: nn.Module) -> Iterator[list[Layer]]:
    """Within the context, a forward pass appends every layer to the list."""
    recorded: list[Layer] = []
    undo: list[Callable[[], object]] = []
    for block in _blocks(transformer):
        grids: list[tuple[int, ...]] = []

        def note_grid(_module: nn.Module, arguments: tuple[Tensor, ...], grids: list = grids) -> None:
            grids.append(tuple(arguments[0].shape[1:-1]))

        def record(
            _module: nn.Module, arguments: tuple[Tensor, ...], _output: Tensor, block=block, grids: list = grids
        ) -> None:
            recorded.append(Layer(arguments[0].mean(dim=1), block, grids.pop()))

        attention, fused = block.attn, block.attn.fused_attn
        undo.append(block.register_forward_pre_hook(note_grid).remove)
        undo.append(attention.attn_drop.register_forward_hook(record).remove)
        undo.append(lambda attention=attention, fused=fused: setattr(attention, "fused_attn", fused))
        attention.fused_attn = False  # a fused kernel never forms the matrix
    try:
        yield recorded
    finally:
        for each in undo:
            each()


def _roll_out_vit(transformer: VisionTransformer, layers: list[Layer], batch: int) -> Tensor:
    prefix, tokens = transformer.num_prefix_tokens, layers[0].attention.shape[1]
    weights = torch.zeros(batch, tokens, device=layers[0].attention.device)
    if transformer.global_pool == "token":
        weights[:, 0] = 1
    else:
        weights[:, prefix:] = 1 / (tokens - prefix)
    for layer in reversed(layers):
        weights = (weights + (weights[:, None] @ layer.attention)[:, 0]) / 2
    return weights[:, prefix:].unflatten(1, transformer.patch_embed.grid_size)


def _roll_out_swin(layers: list[Layer], batch: int) -> Tensor:
    height, width = layers[-1].grid
    weights = torch.full((batch, height, width), 1 / (height * width), device=layers[-1].attention.device)
    for layer in reversed(layers):
        if layer.grid != weights.shape[1:]:  # four tokens of this grid were merged; an odd grid had been padded
            height, width = layer.grid
            weights = (weights / 4).repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)[:, :height, :width]
        weights = (weights + _through_windows(layer, weights)) / 2
    return weights


def _through_windows(layer: Layer, weights: Tensor) -> Tensor:
    """Weights [B, H, W] of a layer's outputs, carried to its inputs by the attention in its windows."""
    height, width = layer.grid
    shift, window = layer.block.shift_size, layer.block.window_size
    shifted = torch.roll(weights, (-shift[0], -shift[1]), dims=(1, 2))
    padded = nn.functional.pad(shifted, (0, -width % window[1], 0, -height % window[0]))
    windows = window_partition(padded[..., None], window).flatten(1)  # [B * windows, N]
    carried = (windows[:, None] @ layer.attention)[:, 0].view(-1, *window, 1)
    merged = window_reverse(carried, window, *padded.shape[1:])[..., 0]
    return torch.roll(merged[:, :height, :width], shift, dims=(1, 2))
