"""The alternative to image statistics: how far a face's features in the network are from those of training faces."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from deepfake_ms.models.base import DetectionModel
from deepfake_ms.prediction.detector import BATCH_SIZE, normalise

NEIGHBOUR = 5
"""The distance is that to this nearest training face (Sun et al., ICML 2022)."""


@torch.inference_mode()
def network_features(model: DetectionModel, crops: np.ndarray) -> np.ndarray:
    """Means of the feature maps before pooling, one vector of unit length per face.

    Args:
        model: in evaluation mode.
        crops: RGB, uint8 [N, 3, S, S].

    Returns:
        float32 [N, D].
    """
    found = []
    for start in range(0, len(crops), BATCH_SIZE):
        images = normalise(model, crops[start : start + BATCH_SIZE])
        with _recorded(model) as maps:
            model(images)
        found.append(_pool(maps, len(images)))
    return np.concatenate(found)


def nearest_distances(features: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Distance to the `NEIGHBOUR`-th nearest training face, 0 to 2: [N].

    Args:
        features: of unit length, [N, D].
        training: of unit length, [M, D].
    """
    similarity = np.partition(features @ training.T, -NEIGHBOUR, axis=1)[:, -NEIGHBOUR]
    return np.sqrt(np.maximum(0, 2 - 2 * similarity))


@contextmanager
def _recorded(model: nn.Module) -> Iterator[list[Tensor]]:
    """Every feature map that passes through a module called ``feature_map`` (`DetectionModel.feature_map`)."""
    found: list[Tensor] = []
    taps = [module for name, module in model.named_modules() if name.rpartition(".")[2] == "feature_map"]
    handles = [tap.register_forward_hook(lambda _module, _inputs, output: found.append(output)) for tap in taps]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _pool(feature_maps: list[Tensor], faces: int) -> np.ndarray:
    """The maps' means over positions, side by side; a map may hold several views of the faces as one batch."""
    parts = []
    for each in feature_maps:
        is_channels_last = each.ndim == 4 and each.shape[1] == each.shape[2] != each.shape[3]
        tokens = each.flatten(1, 2) if is_channels_last else each
        pooled = tokens.mean(dim=1) if tokens.ndim == 3 else tokens.mean(dim=(2, 3))
        parts += pooled.float().unflatten(0, (-1, faces))
    return nn.functional.normalize(torch.cat(parts, dim=1), dim=1).cpu().numpy()
