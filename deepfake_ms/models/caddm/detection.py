"""CADDM's artifact detection module (ADM) and its loss.

Dong et al., *Implicit Identity Leakage: The Stumbling Block to Improving Deepfake Detection Generalization* (CVPR
2023); sizes and ratios as in the released code, none of which is here.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepfake_ms.models.caddm.anchors import GRIDS, PER_CELL, match

CLASSES = 2
"""Background and artifact."""
NEGATIVES_PER_POSITIVE = 2


class ExtraBlock(nn.Module):
    """Two convolutions beside a projection, each with BatchNorm: ``[B, C, h, h]`` to ``[B, C, h - k + 1, h - k + 1]``.

    The release gives the first convolution a bias, which the BatchNorm behind it takes away again: it is left out.

    Args:
        width: C.
        kernel: k, of the first convolution and the projection, both without padding.
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
    """``[B, C, 3, 3]`` to ``[B, C, 1, 1]`` without BatchNorm, which has nothing to average over in a batch of one."""

    def __init__(self, width: int):
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(width, width, kernel_size=3), nn.ReLU(), nn.Conv2d(width, width, kernel_size=1)
        )
        self.projection = nn.Conv2d(width, width, kernel_size=3)

    def forward(self, features: Tensor) -> Tensor:
        return functional.relu(self.residual(features) + self.projection(features))


class ArtifactDetectionModule(nn.Module):
    """Finds local artifacts in the backbone's last map: on maps of 7, 5, 3 and 1 cells a side, with two anchors a cell.

    Args:
        width: channels of the backbone's map and of all four.
    """

    def __init__(self, width: int):
        super().__init__()
        self.blocks = nn.ModuleList([ExtraBlock(width, 1), ExtraBlock(width, 3), ExtraBlock(width, 3), EndBlock(width)])
        kernels = [1 if grid == 1 else 3 for grid in GRIDS]
        self.location = nn.ModuleList(nn.Conv2d(width, PER_CELL * 4, k, padding=k // 2) for k in kernels)
        self.confidence = nn.ModuleList(nn.Conv2d(width, PER_CELL * CLASSES, k, padding=k // 2) for k in kernels)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Detections and summary of a map ``[B, width, 7, 7]``.

        Returns:
            Location ``[B, 168, 4]``, coded as in `deepfake_ms.models.caddm.anchors`; confidence ``[B, 168, 2]``, logits of
            background and artifact; and the last map ``[B, width]``.
        """
        locations, confidences = [], []
        for block, location, confidence in zip(self.blocks, self.location, self.confidence, strict=True):
            features = block(features)
            locations.append(_by_anchor(location(features), 4))
            confidences.append(_by_anchor(confidence(features), CLASSES))
        return torch.cat(locations, dim=1), torch.cat(confidences, dim=1), features.flatten(1)


def _by_anchor(output: Tensor, values: int) -> Tensor:
    """``[B, 2 * values, h, w]`` to ``[B, h * w * 2, values]``, in the order of `anchor_boxes`."""
    return output.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, values))


def detection_losses(location: Tensor, confidence: Tensor, boxes: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
    """The two terms of SSD's multibox loss, each a sum divided by the batch's positive anchors (at least 1).

    For every positive anchor of an image, the two negatives count that look most like an artifact. An image without
    artifact therefore adds nothing. Both terms depend on all outputs of the module, if only with gradient zero.

    Args:
        location: float [B, A, 4], and `confidence` [B, A, 2], from `ArtifactDetectionModule`.
        confidence: see there.
        boxes: float [B, N, 4], the artifacts of each image; without area where there are fewer than N.
        anchors: float [A, 4].

    Returns:
        Smooth-L1 of the positives' location; cross-entropy of the positives and the chosen negatives.
    """
    positive, target = match(boxes, anchors)
    count = positive.sum().clamp(min=1)
    error = functional.smooth_l1_loss(location, target, reduction="none").sum(dim=2)
    entropy = functional.cross_entropy(confidence.transpose(1, 2), positive.long(), reduction="none")
    counted = positive | hardest_negatives(entropy.detach(), positive)
    return (error * positive).sum() / count, (entropy * counted).sum() / count


def hardest_negatives(loss: Tensor, positive: Tensor) -> Tensor:
    """Per image, twice as many negative anchors as positive ones, those of the largest loss.

    Args:
        loss: float [B, A], of each anchor against its label.
        positive: bool [B, A].

    Returns:
        bool [B, A].
    """
    falling = loss.masked_fill(positive, -torch.inf).argsort(dim=1, descending=True, stable=True)
    rank = falling.argsort(dim=1)
    return (rank < NEGATIVES_PER_POSITIVE * positive.sum(dim=1, keepdim=True)) & ~positive
