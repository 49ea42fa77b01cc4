"""Two ways to attach a Swin to a convolutional backbone: attending over its feature map, or unused as released."""

import warnings

import torch
from timm.layers import HybridEmbed
from timm.models.swin_transformer import SwinTransformer
from torch import nn

from deepfake_ms.errors import UserError


def attend_over_feature_map(embedder: nn.Module, backbone: nn.Module, input_size: int) -> None:
    """Make the Swin `embedder` take the feature map ``[B, C, h, w]`` of `backbone` instead of images.

    The Swin's patch embedding becomes a 1x1 projection from C to the width of the Swin (timm's `HybridEmbed`). Its
    windows and their relative-position tables are resized to the token grid; all other weights are kept. ConvNeXt-Tiny
    at 224 px yields 7x7 tokens, which the stages of Swin-Tiny merge to 4x4, 2x2 and 1x1.

    Attention over a single token returns its value regardless of query and key. Where a window holds one token,
    therefore, only the value and output projections learn, and the relative-position table is frozen.

    Args:
        embedder: a timm Swin, created at its native size so that its pretrained weights fit.
        backbone: returns its unpooled feature map.
        input_size: height and width of the backbone's input images in pixels.

    Raises:
        UserError: `embedder` is not a Swin, or `backbone` does not return a feature map.
    """
    if not isinstance(embedder, SwinTransformer):
        raise UserError(f"embedder is a {type(embedder).__name__}: choose one of timm's swin_* models.")
    feature_map = _feature_map_of_black_image(backbone, input_size)
    if feature_map.ndim != 4 or feature_map.shape[1] != backbone.num_features:
        raise UserError(
            f"The backbone {type(backbone).__name__} returns no feature map [B, C, h, w] for the Swin to attend over: "
            "choose a convolutional backbone, or swin=removed."
        )
    embedder.patch_embed = HybridEmbed(
        nn.Identity(),
        img_size=tuple(feature_map.shape[2:]),
        in_chans=feature_map.shape[1],
        embed_dim=embedder.embed_dim,
        output_fmt=embedder.output_fmt,
    )
    with warnings.catch_warnings():  # timm's interpolation of the tables uses indexing that torch deprecates
        warnings.filterwarnings("ignore", category=UserWarning, module="timm.layers.interpolate")
        _resize_windows(embedder)
    for stage in embedder.layers:
        for block in stage.blocks:
            if block.attn.window_area == 1:
                block.attn.relative_position_bias_table.requires_grad_(False)


def _resize_windows(embedder: SwinTransformer) -> None:
    """`SwinTransformer.set_input_size`, which before timm 1.0.31 fails without an image size and rounds grids down."""
    window_size = embedder.layers[0].blocks[0].window_size
    grid = embedder.patch_embed.grid_size
    for stage in embedder.layers:
        if not isinstance(stage.downsample, nn.Identity):
            grid = tuple(side + side % 2 for side in grid)  # merging pads an odd grid
        stage.set_input_size(feat_size=grid, window_size=window_size)
        grid = stage.output_resolution


@torch.no_grad()
def _feature_map_of_black_image(backbone: nn.Module, input_size: int) -> torch.Tensor:
    was_training = backbone.training
    feature_map = backbone.eval()(torch.zeros(1, 3, input_size, input_size))
    backbone.train(was_training)
    return feature_map


class IdlePatchEmbed(nn.Module):
    """The module that the released GenConViT sets as ``patch_embed`` of its ConvNeXt, which never reads this attribute.

    It only holds parameters under the names of the released checkpoints. It has no forward method, so calling it would
    fail. The parameters are frozen so that optimizers and DistributedDataParallel ignore them.
    """

    RELEASED_WIDTH = 768

    def __init__(self, embedder: nn.Module, features: int):
        super().__init__()
        self.backbone = embedder
        self.proj = nn.Conv2d(features, self.RELEASED_WIDTH, kernel_size=1)
        self.requires_grad_(False)
