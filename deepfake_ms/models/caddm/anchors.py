"""The anchors of CADDM's artifact detection module: positions, matching with artifact boxes, and box encoding.

An SSD detector (Liu et al., *SSD: Single Shot MultiBox Detector*, ECCV 2016) with the values of CADDM's released code.
All boxes are in fractions of the image size, 0..1.
"""

import torch
from torch import Tensor
from torchvision.ops import box_convert, box_iou

IMAGE_SIZE = 224
"""Image size in pixels to which the constants below refer."""
GRIDS = (7, 5, 3, 1)
"""Height and width of the four anchor maps in cells."""
STEPS = (32, 45, 75, 224)
"""Distance between the centres of neighbouring cells in pixels."""
SIDES = ((40, 80), (80, 120), (120, 160), (224, 224))
"""Short and long side of each map's anchors in pixels; each cell has one upright and one horizontal anchor."""
PER_CELL = 2

CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2
MATCHING_IOU = 0.5


def anchor_boxes() -> Tensor:
    """The 168 anchors, float32 [168, 4] (centre x, centre y, width, height), ordered by map, row, column and shape."""
    anchors = []
    for grid, step, (short, long) in zip(GRIDS, STEPS, SIDES, strict=True):
        for row in range(grid):
            for column in range(grid):
                x, y = (column + 0.5) * step, (row + 0.5) * step
                anchors += [(x, y, short, long), (x, y, long, short)]
    return torch.tensor(anchors, dtype=torch.float32) / IMAGE_SIZE


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Encode `boxes` relative to `anchors`, as targets of the location head.

    Args:
        boxes: float [..., A, 4] (left, top, right, bottom) with positive area.
        anchors: float [A, 4] (centre x, centre y, width, height).

    Returns:
        [..., A, 4]: centre offset in tenths of the anchor size, and logarithm of the size ratio in units of a fifth.
    """
    boxes = box_convert(boxes, "xyxy", "cxcywh")
    offset = (boxes[..., :2] - anchors[:, :2]) / anchors[:, 2:] / CENTRE_VARIANCE
    return torch.cat([offset, (boxes[..., 2:] / anchors[:, 2:]).log() / SIZE_VARIANCE], dim=-1)


def decode(location: Tensor, anchors: Tensor) -> Tensor:
    """Decode `location` [..., A, 4] to boxes [..., A, 4] (left, top, right, bottom): the inverse of `encode`."""
    centre = anchors[:, :2] + location[..., :2] * CENTRE_VARIANCE * anchors[:, 2:]
    size = anchors[:, 2:] * (location[..., 2:] * SIZE_VARIANCE).exp()
    return box_convert(torch.cat([centre, size], dim=-1), "cxcywh", "xyxy")


def match(boxes: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
    """Match anchors with artifact boxes.

    An anchor is positive if its IoU with a box is at least .5. The anchor with the highest IoU for a box is always
    positive.

    Args:
        boxes: float [B, N, 4] (left, top, right, bottom), the artifacts of each image, padded with zero-area boxes.
        anchors: float [A, 4], from `anchor_boxes`.

    Returns:
        Positive anchors, bool [B, A]; their encoded boxes, float [B, A, 4], 0 for negative anchors.
    """
    corners = box_convert(anchors, "cxcywh", "xyxy")
    overlap = box_iou(boxes.flatten(0, 1), corners).unflatten(0, boxes.shape[:2])  # [B, N, A]
    is_box = ((boxes[..., 2:] - boxes[..., :2]) > 0).all(dim=-1, keepdim=True)
    overlap = overlap.masked_fill(~is_box, -1)
    nearest = overlap.argmax(dim=2, keepdim=True) == torch.arange(len(anchors), device=boxes.device)
    # If several boxes have the same nearest anchor, the last box gets it.
    order = torch.arange(boxes.shape[1], device=boxes.device)[:, None]
    overlap = torch.where(nearest & is_box, 2.0 + order, overlap)

    best, which = overlap.max(dim=1)
    positive = best >= MATCHING_IOU
    matched = boxes.gather(1, which[..., None].expand(-1, -1, 4))
    matched = torch.where(positive[..., None], matched, corners)  # an anchor's own box is encoded as 0
    return positive, encode(matched, anchors).masked_fill(~positive[..., None], 0)
