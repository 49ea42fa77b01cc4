"""The two ways in which a Swin can stand beside a convolutional backbone: attending to its features, or idle."""

import warnings

import torch
from timm.layers import HybridEmbed
from timm.models.swin_transformer import SwinTransformer
from torch import nn

from deepfake_ms.errors import UserError


def attend_over_feature_map(embedder: nn.Module, backbone: nn.Module, input_size: int) -> None:
    """Make the Swin `embedder` take the feature map of `backbone` ``[B, C, h, w]`` instead of images.

    The Swin's patch embedding becomes a 1x1 projection from C to its own width (timm's `HybridEmbed`), its windows
    and their relative-position tables are resized to the grid of tokens; all its other weights stay. ConvNeXt-Tiny
    at 224 px gives 7x7 tokens, which the stages of Swin-Tiny merge to 4x4, 2x2 and 1x1.

    Attention over one token returns its value whatever the query and key, so where a window holds one token only
    the value and output projections learn; the relative-position table there is frozen.

    Args:
        embedder: a timm Swin, created at its native size (so that its pretrained weights fit).
        backbone: returns its unpooled feature map.
        input_size: side of the images that the backbone gets, in pixels.

    Raises:
        UserError: `embedder` is not a Swin or `backbone` gives no feature map.
    """
    if not isinstance(embedder, SwinTransformer):
        raise UserError(f"The embedder is a {type(embedder).__name__}: name one of timm's swin_* models.")
    feature_map = _feature_map_of_black_image(backbone, input_size)
    if feature_map.ndim != 4 or feature_map.shape[1] != backbone.num_features:
        raise UserError(
            f"The backbone {type(backbone).__name__} gives no feature map [B, C, h, w] for the Swin to attend over: "
            "choose a convolutional one, or swin=removed."
        )
    embedder.patch_embed = HybridEmbed(
        nn.Identity(),
        img_size=tuple(feature_map.shape[2:]),
        in_chans=feature_map.shape[1],
        embed_dim=embedder.embed_dim,
        output_fmt=embedder.output_fmt,
    )
    with warnings.catch_warnings():  # timm's table interpolation indexes in a way that torch deprecates
        warnings.filterwarnings("ignore", category=UserWarning, module="timm.layers.interpolate")
        embedder.set_input_size(window_size=embedder.layers[0].blocks[0].window_size)
    for stage in embedder.layers:
        for block in stage.blocks:
            if block.attn.window_area == 1:
                block.attn.relative_position_bias_table.requires_grad_(False)


@torch.no_grad()
def _feature_map_of_black_image(backbone: nn.Module, input_size: int) -> torch.Tensor:
    was_training = backbone.training
    feature_map = backbone.eval()(torch.zeros(1, 3, input_size, input_size))
    backbone.train(was_training)
    return feature_map


class IdlePatchEmbed(nn.Module):
    """What the released GenConViT hangs into its ConvNeXt as ``patch_embed``, an attribute that no ConvNeXt reads.

    It only holds parameters, under the names of the released checkpoints, and has no forward: were it ever called,
    it would fail. The parameters are frozen, so that optimizers and DistributedDataParallel pass them by.
    """

    RELEASED_WIDTH = 768

    def __init__(self, embedder: nn.Module, features: int):
        super().__init__()
        self.backbone = embedder
        self.proj = nn.Conv2d(features, self.RELEASED_WIDTH, kernel_size=1)
        self.requires_grad_(False)
