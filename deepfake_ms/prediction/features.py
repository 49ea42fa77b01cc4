"""Pooled feature maps, read during the forward pass that scores the faces."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def recorded_features(model: nn.Module) -> Iterator[list[Tensor]]:
    """Record every feature map that passes through a module called ``feature_map`` (`DetectionModel.feature_map`).

    GenConViT has one for the image and one for the reconstruction, the ensemble two of each.

    Yields:
        The feature maps of the forward passes inside the block, in order.
    """
    found: list[Tensor] = []
    taps = [module for name, module in model.named_modules() if name.rpartition(".")[2] == "feature_map"]
    handles = [tap.register_forward_hook(lambda _module, _inputs, output: found.append(output)) for tap in taps]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def pool(feature_maps: list[Tensor], faces: int) -> Tensor:
    """One vector of unit length per face: the means of its feature maps over all positions, one after the other.

    Args:
        feature_maps: [B, C, h, w], [B, h, w, C] with h = w, or tokens [B, N, C]. B is the number of faces, or a
            multiple if several views of the faces went through the network as one batch.
        faces: their number.

    Returns:
        float32 [faces, D]; D is 0 without feature maps.
    """
    parts = [torch.empty(0, faces, 0)]
    for each in feature_maps:
        tokens = each.flatten(1, 2) if each.ndim == 4 and each.shape[1] == each.shape[2] else each
        pooled = tokens.mean(dim=1) if tokens.ndim == 3 else tokens.mean(dim=(2, 3))
        parts += pooled.float().cpu().unflatten(0, (-1, faces))
    vectors = torch.cat([each.reshape(faces, -1) for each in parts], dim=1)
    return nn.functional.normalize(vectors, dim=1)
