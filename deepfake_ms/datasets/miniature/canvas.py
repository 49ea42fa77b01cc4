"""The canonical plane on which every face is painted in frontal view, and functions for painting on it.

Coordinates are in face units: (0, 0) is the centre of the face, x increases to the viewer's right, y downwards, and 1
is half the height of the face. Layers are float32 arrays [HEIGHT, WIDTH] or, for RGB colours from 0 to 1,
[HEIGHT, WIDTH, 3].
"""

from collections.abc import Sequence

import cv2
import numpy as np

UNIT = 88
"""Pixels per face unit; slightly more than in the frame, so that the warp into the frame never enlarges."""

LEFT, RIGHT, TOP, BOTTOM = -1.25, 1.25, -1.45, 1.35
WIDTH, HEIGHT = round((RIGHT - LEFT) * UNIT), round((BOTTOM - TOP) * UNIT)

X, Y = np.meshgrid(
    LEFT + (np.arange(WIDTH, dtype=np.float32) + 0.5) / UNIT,
    TOP + (np.arange(HEIGHT, dtype=np.float32) + 0.5) / UNIT,
)
"""Coordinates of the pixels of the plane, [HEIGHT, WIDTH]."""
X.flags.writeable = Y.flags.writeable = False

SIDES = (-1, 1)
"""The viewer's left and right; paired features are drawn in mirrored coordinates ``X * side``."""


def soft_step(distance: np.ndarray, softness: float = 1 / UNIT) -> np.ndarray:
    """0 outside (negative distance), 1 inside, with an antialiased edge that extends `softness` to both sides of 0."""
    ramp = np.clip(0.5 + distance * (0.5 / softness), 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def bump(x: np.ndarray, y: np.ndarray, x_radius: float, y_radius: float) -> np.ndarray:
    """A Gaussian bump of height 1 at the origin."""
    return np.exp(-((x / x_radius) ** 2) - (y / y_radius) ** 2)


def stroke(distance: np.ndarray, width: float | np.ndarray) -> np.ndarray:
    """A soft line of height 1 where `distance` is 0."""
    return np.exp(-((distance / width) ** 2))


def spread(layer: np.ndarray, weights: Sequence[float] | None = None) -> np.ndarray:
    """The layer in three channels, each multiplied by its weight, [..., 3].

    This is many times faster than numpy's broadcasting to a last axis of 3.
    """
    return cv2.merge([layer] * 3 if weights is None else [layer * float(weight) for weight in weights])


def blend(image: np.ndarray, colour: np.ndarray | Sequence[float], opacity: np.ndarray) -> None:
    """Paint `colour` (one RGB value or a layer) over `image` in place."""
    image *= spread(1 - opacity)
    image += spread(opacity, colour) if np.ndim(colour) == 1 else spread(opacity) * colour


def darken(image: np.ndarray, amount: np.ndarray, tint: Sequence[float] | None = None) -> None:
    """Reduce the brightness of `image` by the fraction `amount` in place; `tint` weights the channels."""
    image *= 1 - spread(amount, tint)


def value_noise(random: np.random.Generator, cell_width: float, cell_height: float | None = None) -> np.ndarray:
    """Smooth noise on the plane with cells of the given size in pixels and unit variance, [HEIGHT, WIDTH]."""
    rows, columns = int(HEIGHT / (cell_height or cell_width)) + 2, int(WIDTH / cell_width) + 2
    grains = random.standard_normal((rows, columns), dtype=np.float32)
    return cv2.resize(grains, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def window(x: float, y: float, x_radius: float, y_radius: float) -> tuple[slice, slice]:
    """Rows and columns of the plane around a feature, to draw it without processing the whole plane."""
    top, bottom = int((y - y_radius - TOP) * UNIT), int((y + y_radius - TOP) * UNIT) + 1
    left, right = int((x - x_radius - LEFT) * UNIT), int((x + x_radius - LEFT) * UNIT) + 1
    return slice(max(top, 0), min(bottom, HEIGHT)), slice(max(left, 0), min(right, WIDTH))
