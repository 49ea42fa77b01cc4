"""The anchors of CADDM's artifact detection module: where they lie, which hold an artifact, how boxes are coded.

An SSD detector (Liu et al., *SSD: Single Shot MultiBox Detector*, ECCV 2016) with the values of CADDM's released code.
All boxes are in fractions of the image's side, 0..1.
"""

import torch
from torch import Tensor
from torchvision.ops import box_convert, box_iou

IMAGE = 224
"""Side of the image, in pixels, that the constants below are given for."""
GRIDS = (7, 5, 3, 1)
"""Cells along each side of the four maps that carry anchors."""
STEPS = (32, 45, 75, 224)
"""Distance between the centres of neighbouring cells, in pixels."""
SIDES = ((40, 80), (80, 120), (120, 160), (224, 224))
"""Both sides of a map's anchors, in pixels: in each cell one stands upright and one lies."""
PER_CELL = 2

CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2
MATCHING_IOU = 0.5


def anchor_boxes() -> Tensor:
    """The 168 anchors, float32 [168, 4]: centre x, centre y, width, height; map by map, row by row, two per cell."""
    anchors = []
    for grid, step, (short, long) in zip(GRIDS, STEPS, SIDES, strict=True):
        for row in range(grid):
            for column in range(grid):
                x, y = (column + 0.5) * step, (row + 0.5) * step
                anchors += [(x, y, short, long), (x, y, long, short)]
    return torch.tensor(anchors, dtype=torch.float32) / IMAGE


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """What the location head should give at `anchors` for `boxes`.

    Args:
        boxes: float [..., A, 4] left, top, right, bottom, of positive area.
        anchors: float [A, 4] centre x, centre y, width, height.

    Returns:
        [..., A, 4]: offset of the centre in tenths of the anchor's size, logarithm of the size ratio in fifths.
    """
    boxes = box_convert(boxes, "xyxy", "cxcywh")
    offset = (boxes[..., :2] - anchors[:, :2]) / anchors[:, 2:] / CENTRE_VARIANCE
    return torch.cat([offset, (boxes[..., 2:] / anchors[:, 2:]).log() / SIZE_VARIANCE], dim=-1)


def decode(location: Tensor, anchors: Tensor) -> Tensor:
    """The boxes [..., A, 4] (left, top, right, bottom) that `location` [..., A, 4] means: the inverse of `encode`."""
    centre = anchors[:, :2] + location[..., :2] * CENTRE_VARIANCE * anchors[:, 2:]
    size = anchors[:, 2:] * (location[..., 2:] * SIZE_VARIANCE).exp()
    return box_convert(torch.cat([centre, size], dim=-1), "cxcywh", "xyxy")


def match(boxes: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
    """Which anchors hold an artifact, and what their location should be.

    An anchor is positive if its IoU with a box is at least .5; in any case the anchor nearest to each box is.

    Args:
        boxes: float [B, N, 4], the artifacts of each image: left, top, right, bottom; without area where an image has
            fewer than N.
        anchors: float [A, 4], from `anchor_boxes`.

    Returns:
        bool [B, A], positive anchors; float [B, A, 4], their encoded boxes, 0 for the others.
    """
    corners = box_convert(anchors, "cxcywh", "xyxy")
    overlap = box_iou(boxes.flatten(0, 1), corners).unflatten(0, boxes.shape[:2])  # [B, N, A]
    there = ((boxes[..., 2:] - boxes[..., :2]) > 0).all(dim=-1, keepdim=True)
    overlap = overlap.masked_fill(~there, -1)
    nearest = overlap.argmax(dim=2, keepdim=True) == torch.arange(len(anchors), device=boxes.device)
    # Of several boxes with the same nearest anchor the last one has it.
    order = torch.arange(boxes.shape[1], device=boxes.device)[:, None]
    overlap = torch.where(nearest & there, 2.0 + order, overlap)

    best, which = overlap.max(dim=1)
    positive = best >= MATCHING_IOU
    matched = boxes.gather(1, which[..., None].expand(-1, -1, 4))
    matched = torch.where(positive[..., None], matched, corners)  # an anchor's own box has the code 0
    return positive, encode(matched, anchors).masked_fill(~positive[..., None], 0)
