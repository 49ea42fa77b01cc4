"""CADDM's artifact detection module (ADM) and its loss.

Dong et al., *Implicit Identity Leakage: The Stumbling Block to Improving Deepfake Detection Generalization* (CVPR
2023). Sizes and ratios are those of the released code, none of which is included here.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepfake_ms.models.caddm.anchors import GRIDS, PER_CELL, match

CLASSES = 2
"""Number of classes per anchor: background and artifact."""
NEGATIVES_PER_POSITIVE = 2


class ExtraBlock(nn.Module):
    """Residual block with BatchNorm from ``[B, C, h, h]`` to ``[B, C, h - k + 1, h - k + 1]``.

    The released first convolution has a bias, which the following BatchNorm cancels; it is omitted here.

    Args:
        width: channels C.
        kernel: kernel size k of the first convolution and the projection, both without padding.
    """

    def __init__(self, width: int, kernel: int):
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(width, width, kernel, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.projection = nn.Sequential(nn.Conv2d(width, width, kernel, bias=False), nn.BatchNorm2d(width))

    def forward(self, features: Tensor) -> Tensor:
        return functional.relu(self.residual(features) + self.projection(features))


class EndBlock(nn.Module):
    """Residual block from ``[B, C, 3, 3]`` to ``[B, C, 1, 1]``.

    It has no BatchNorm, which cannot compute statistics of a single 1x1 map, i.e. in a batch of one.
    """

    def __init__(self, width: int):
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(width, width, kernel_size=3), nn.ReLU(), nn.Conv2d(width, width, kernel_size=1)
        )
        self.projection = nn.Conv2d(width, width, kernel_size=3)

    def forward(self, features: Tensor) -> Tensor:
        return functional.relu(self.residual(features) + self.projection(features))


class ArtifactDetectionModule(nn.Module):
    """Detects local artifacts on maps of 7x7, 5x5, 3x3 and 1x1 cells, with two anchors per cell.

    Args:
        width: channels of the backbone's last map and of all four maps.
    """

    def __init__(self, width: int):
        super().__init__()
        self.blocks = nn.ModuleList([ExtraBlock(width, 1), ExtraBlock(width, 3), ExtraBlock(width, 3), EndBlock(width)])
        kernels = [1 if grid == 1 else 3 for grid in GRIDS]
        self.location = nn.ModuleList(nn.Conv2d(width, PER_CELL * 4, k, padding=k // 2) for k in kernels)
        self.confidence = nn.ModuleList(nn.Conv2d(width, PER_CELL * CLASSES, k, padding=k // 2) for k in kernels)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Detect artifacts on the backbone's last map ``[B, width, 7, 7]``.

        Returns:
            Location ``[B, 168, 4]``, encoded as in `deepfake_ms.models.caddm.anchors`; confidence ``[B, 168, 2]``, the
            logits of background and artifact; and the last map ``[B, width]``.
        """
        locations, confidences = [], []
        for block, location, confidence in zip(self.blocks, self.location, self.confidence, strict=True):
            features = block(features)
            locations.append(_by_anchor(location(features), 4))
            confidences.append(_by_anchor(confidence(features), CLASSES))
        return torch.cat(locations, dim=1), torch.cat(confidences, dim=1), features.flatten(1)


def _by_anchor(output: Tensor, values: int) -> Tensor:
    """Reshape ``[B, 2 * values, h, w]`` to ``[B, h * w * 2, values]``, in the order of `anchor_boxes`."""
    return output.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, values))


def detection_losses(location: Tensor, confidence: Tensor, boxes: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
    """The two terms of SSD's multibox loss, each summed and divided by the batch's positive anchors (at least 1).

    Each positive anchor of an image adds the two hardest negatives to the confidence term. An image without artifacts
    therefore contributes nothing. Both terms depend on all outputs of the module, if only with zero gradient.

    Args:
        location, confidence: float [B, A, 4] and [B, A, 2], from `ArtifactDetectionModule`.
        boxes: float [B, N, 4], the artifacts of each image, padded with zero-area boxes.
        anchors: float [A, 4].

    Returns:
        Smooth L1 loss of the positives' locations; cross-entropy of the positives and the selected negatives.
    """
    positive, target = match(boxes, anchors)
    count = positive.sum().clamp(min=1)
    error = functional.smooth_l1_loss(location, target, reduction="none").sum(dim=2)
    entropy = functional.cross_entropy(confidence.transpose(1, 2), positive.long(), reduction="none")
    counted = positive | hardest_negatives(entropy.detach(), positive)
    return (error * positive).sum() / count, (entropy * counted).sum() / count


def hardest_negatives(loss: Tensor, positive: Tensor) -> Tensor:
    """Select, per image, the negative anchors with the largest loss, twice as many as there are positive ones.

    Args:
        loss: float [B, A], the loss of each anchor.
        positive: bool [B, A], the positive anchors.

    Returns:
        Selected anchors, bool [B, A].
    """
    descending = loss.masked_fill(positive, -torch.inf).argsort(dim=1, descending=True, stable=True)
    rank = descending.argsort(dim=1)
    return (rank < NEGATIVES_PER_POSITIVE * positive.sum(dim=1, keepdim=True)) & ~positive
