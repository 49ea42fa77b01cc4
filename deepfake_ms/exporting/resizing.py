"""Resizing as OpenCV does it, in operations that ONNX and torch.export have.

`deepfake_ms.data.dataset.resize_face` takes ``INTER_AREA`` if crops shrink and ``INTER_LINEAR`` if they grow. Here, the
bytes are the same; torch's bilinear interpolation differs by one grey level in an eighth of the pixels.
"""

import math

import torch
from torch import Tensor, nn


def make_resize(size: int, to: int) -> nn.Module:
    """The module that resizes square images, uint8 [N, 3, size, size], to float32 [N, 3, to, to] with whole values."""
    if to == size:
        return _AsFloat()
    return _Shrink(size, to) if to < size else _Enlarge(size, to)


class _AsFloat(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.float()


class _Shrink(nn.Module):
    """Every new pixel is the mean of the area that it covers (``INTER_AREA``)."""

    def __init__(self, size: int, to: int):
        super().__init__()
        left = torch.arange(to, dtype=torch.float64)[:, None] * size / to
        pixel = torch.arange(size, dtype=torch.float64)
        covered = (torch.minimum(left + size / to, pixel + 1) - torch.maximum(left, pixel)).clamp(min=0)
        self.register_buffer("weights", (covered * to / size).float(), persistent=False)
        self.halves_up = size == 2 * to  # OpenCV rounds halves up where it halves an image, and to even elsewhere

    def forward(self, images: Tensor) -> Tensor:
        means = self.weights @ images.float() @ self.weights.T
        return torch.floor(means + 0.5) if self.halves_up else torch.round(means)


class _Enlarge(nn.Module):
    """Bilinear interpolation in whole numbers: weights of 11 bits, and rows are rounded before they are added."""

    BITS = 11

    def __init__(self, size: int, to: int):
        super().__init__()
        places = [(pixel + 0.5) * size / to - 0.5 for pixel in range(to)]
        before = torch.tensor([math.floor(place) for place in places])
        share = torch.tensor(places) - before
        for name, value in {
            "before": before.clamp(min=0),
            "after": (before + 1).clamp(max=size - 1),
            "share_before": ((1 - share) * 2**self.BITS).round().int(),
            "share_after": (share * 2**self.BITS).round().int(),
        }.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        images = images.int()
        before, after = (images.index_select(3, each) for each in (self.before, self.after))
        columns = before * self.share_before + after * self.share_after
        columns = columns.div(16, rounding_mode="floor")
        before, after = (columns.index_select(2, each) for each in (self.before, self.after))
        before, after = before * self.share_before[:, None], after * self.share_after[:, None]
        rows = before.div(2**16, rounding_mode="floor") + after.div(2**16, rounding_mode="floor")
        return (rows + 2).div(4, rounding_mode="floor").float()
