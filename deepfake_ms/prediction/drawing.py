"""Boxes and probabilities drawn into frames."""

from collections.abc import Iterable

import cv2
import numpy as np

WHITE = (255, 255, 255)


def draw_boxes(
    image: np.ndarray, boxes: Iterable[tuple[np.ndarray, str, tuple[int, int, int]]], enlarged: float = 1
) -> np.ndarray:
    """A copy of a frame with boxes and their labels.

    Args:
        image: RGB uint8 [H, W, 3].
        boxes: left, top, right, bottom in pixels; the label above it; and the RGB colour of each.
        enlarged: size of lines and labels; larger for a picture that is shown smaller than it is.
    """
    drawn = image.copy()
    line = max(1, round(enlarged * max(drawn.shape) / 400))
    scale = enlarged * max(0.4, max(drawn.shape) / 1100)
    for box, label, colour in boxes:
        left, top, right, bottom = (round(float(each)) for each in box)
        cv2.rectangle(drawn, (left, top), (right, bottom), colour, line)
        (width, height), _ = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, scale, line)
        x = int(np.clip(left, 0, max(0, drawn.shape[1] - width - 4)))
        y = int(np.clip(top - 4, height + 4, drawn.shape[0] - 4))
        cv2.rectangle(drawn, (x, y - height - 4), (x + width + 4, y + 4), colour, cv2.FILLED)
        cv2.putText(drawn, label, (x + 2, y), cv2.FONT_HERSHEY_SIMPLEX, scale, WHITE, line, cv2.LINE_AA)
    return drawn


def rgb_of(colour: str) -> tuple[int, int, int]:
    """``#rrggbb`` as numbers."""
    return tuple(bytes.fromhex(colour.lstrip("#")))


def reduced(image: np.ndarray, longest: int) -> np.ndarray:
    """The image with at most `longest` pixels on its longer side."""
    factor = longest / max(image.shape)
    if factor >= 1:
        return image
    size = [max(1, round(side * factor)) for side in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
