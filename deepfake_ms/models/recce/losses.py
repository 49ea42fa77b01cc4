"""The three terms of RECCE's training loss, before their weights."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def flooded(loss: Tensor, level: float) -> Tensor:
    """``|loss - level| + level``: below `level` the gradient turns round, so the loss stays near it.

    Ishida et al., *Do We Need Zero Training Loss After Achieving Zero Training Error?* (ICML 2020).
    """
    return (loss - level).abs() + level


def reconstruction_loss(image: Tensor, reconstruction: Tensor, real: Tensor) -> Tensor:
    """Mean absolute error of the reconstructions of real faces; 0, with a gradient of 0, if there is none.

    Args:
        image, reconstruction: ``[B, 3, S, S]``.
        real: bool ``[B]``.
    """
    error = (image - reconstruction).abs().mean(dim=(1, 2, 3))
    return _mean_where(error, real)


def metric_loss(features: Sequence[Tensor], real: Tensor) -> Tensor:
    """Pulls real faces together and away from fakes; what fakes are to each other is left open.

    Per depth: mean dissimilarity of two different real faces + mean similarity of a real and a fake face, where
    similarity is (1 + cosine) / 2 of the vectors and dissimilarity is 1 - that; summed over the depths. Where there is
    no such pair, its mean is 0. A batch of one class gives 0, with a gradient of 0: there is nothing to keep apart.

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
    return total * mixed.any()


def _mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of `values` where `mask` is true, 0 where it never is."""
    return (values * mask).sum() / mask.sum().clamp(min=1)
