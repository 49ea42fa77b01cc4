"""The three terms of RECCE's training loss, unweighted."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def flooded(loss: Tensor, level: float) -> Tensor:
    """Flooding, ``|loss - level| + level``: below `level` the gradient changes sign, so the loss stays near it.

    Ishida et al., *Do We Need Zero Training Loss After Achieving Zero Training Error?* (ICML 2020).
    """
    return (loss - level).abs() + level


def reconstruction_loss(image: Tensor, reconstruction: Tensor, real: Tensor) -> Tensor:
    """Mean absolute error of the reconstructions of real faces; without real faces 0, with a gradient of 0.

    Args:
        image, reconstruction: ``[B, 3, S, S]``.
        real: bool ``[B]``.
    """
    error = (image - reconstruction).abs().mean(dim=(1, 2, 3))
    return _mean_where(error, real)


def metric_loss(features: Sequence[Tensor], real: Tensor) -> Tensor:
    """Pulls real faces together and pushes them away from fakes; distances between fakes are not constrained.

    Sums over the depths: mean dissimilarity of pairs of different real faces + mean similarity of pairs of a real and a
    fake face. Similarity is (1 + cosine similarity of the vectors) / 2, dissimilarity is 1 - similarity. The mean over
    no pairs is 0. As in the release, a batch of real faces only still pulls them together; a batch of fakes has a
    gradient of 0 (its loss is 0 here, and a constant 1 per depth in the release).

    Args:
        features: one tensor ``[B, C_i]`` per depth.
        real: bool ``[B]``.
    """
    both_real = (real[:, None] & real).fill_diagonal_(False)
    mixed = real[:, None] ^ real
    total = torch.zeros((), device=real.device)
    for vectors in features:
        directions = functional.normalize(vectors.float(), dim=1)
        similarity = (1 + directions @ directions.T) / 2
        total = total + _mean_where(1 - similarity, both_real) + _mean_where(similarity, mixed)
    return total


def _mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` where `mask` is true; 0 if it is true nowhere."""
    return (values * mask).sum() / mask.sum().clamp(min=1)
