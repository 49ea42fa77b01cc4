"""Eye masks, drawn on the fly from the two eye centres (the curriculum's `masked_eyes` faces)."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, floor

import cv2
import numpy as np

from deepfake_ms.errors import UserError

SHAPES = ("box", "ellipse")
FILLS = ("black", "mean")


@dataclass(frozen=True)
class EyeMask:
    """One filled shape per eye, centred on the eye, sized by the face and turned with the head's roll.

    The unit is the inter-ocular distance (IOD), the distance between the two eye centres, so the mask covers the
    same part of a near and of a far face. The paper draws a box twice as wide and three times as high as the
    bounding box of dlib's six points of an eye; on an upright face that is about .9 IOD wide and .45 to .5 IOD high
    (our judgement: MTCNN gives only the centres).

    Attributes:
        shape: "box" as in the paper, or the "ellipse" inscribed in it.
        width: along the line through both eyes, in IOD.
        height: across that line, in IOD.
        fill: "black" as in the paper, or the "mean" colour of the image, which leaves no high-contrast edge.

    Raises:
        UserError: an unknown shape or fill, or a size that is not positive.
    """

    shape: str = "box"
    width: float = 0.9
    height: float = 0.5
    fill: str = "black"

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise UserError(f"eye mask: shape is {self.shape!r}; choose one of {', '.join(SHAPES)}.")
        if self.fill not in FILLS:
            raise UserError(f"eye mask: fill is {self.fill!r}; choose one of {', '.join(FILLS)}.")
        if self.width <= 0 or self.height <= 0:
            raise UserError(f"eye mask: width {self.width} and height {self.height} must be positive.")

    def region(self, height: int, width: int, eyes: np.ndarray) -> np.ndarray:
        """Which pixels the mask covers.

        Args:
            height, width: of the image, in pixels.
            eyes: [2, 2] eye centres as (x, y) in pixels, first the one on the left of the image; pixel centres have
                whole numbers. They may lie outside the image.

        Returns:
            bool [height, width]; nothing is covered if both centres are the same point.
        """
        covered = np.zeros((height, width), dtype=bool)
        for rows, columns, inside in self._patches(height, width, eyes):
            covered[rows, columns] |= inside
        return covered

    def draw(self, image: np.ndarray, eyes: np.ndarray) -> np.ndarray:
        """A copy of `image` (uint8 RGB [H, W, 3]) with both eyes covered; `eyes` as in `region`."""
        masked = image.copy()
        colour = 0 if self.fill == "black" else _mean_colour(image)
        for rows, columns, inside in self._patches(*image.shape[:2], eyes):
            masked[rows, columns][inside] = colour
        return masked

    def _patches(self, height: int, width: int, eyes: np.ndarray) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """Per eye: the rows and columns of the image that its shape may touch, and which pixels of them it covers."""
        left_eye, right_eye = np.asarray(eyes, dtype=np.float64)
        between = right_eye - left_eye
        distance = float(np.hypot(*between))
        if not distance > 0:
            return
        along_x, along_y = (between / distance).tolist()
        half_width, half_height = distance * self.width / 2, distance * self.height / 2
        reach_x = abs(along_x) * half_width + abs(along_y) * half_height
        reach_y = abs(along_y) * half_width + abs(along_x) * half_height
        for eye_x, eye_y in (left_eye.tolist(), right_eye.tolist()):
            rows = _whole_pixels(eye_y - reach_y, eye_y + reach_y, height)
            columns = _whole_pixels(eye_x - reach_x, eye_x + reach_x, width)
            y = np.arange(rows.start, rows.stop)[:, None]
            x = np.arange(columns.start, columns.stop)
            # Coordinates of every pixel in the head's own axes; the shape's edge lies at +-1.
            along = ((x - eye_x) * along_x + (y - eye_y) * along_y) / half_width
            across = ((y - eye_y) * along_x - (x - eye_x) * along_y) / half_height
            if self.shape == "box":
                yield rows, columns, np.maximum(np.abs(along), np.abs(across)) <= 1
            else:
                yield rows, columns, along**2 + across**2 <= 1


def _whole_pixels(low: float, high: float, count: int) -> slice:
    """Those of the pixels 0..count-1 that lie between `low` and `high`, and one more on either side."""
    return slice(min(max(floor(low), 0), count), min(max(ceil(high) + 1, 0), count))


def _mean_colour(image: np.ndarray) -> np.ndarray:
    """[3] whole grey levels; `image.mean` takes ten times as long."""
    return np.rint(np.array(cv2.sumElems(image)[:3]) / (image.shape[0] * image.shape[1]))
