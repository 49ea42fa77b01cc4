"""Face masks: boxes over parts of a face, drawn on the fly from its landmarks (MEP, paper section 2.4)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import ceil, floor
from typing import Self

import cv2
import numpy as np

from deepfake_ms.errors import UserError
from deepfake_ms.randomness import key

POINTS = {"eyes": ((0,), (1,)), "nose": ((2,),), "mouth": ((3, 4),), "face": ((0, 1, 3, 4),)}
"""Region -> for each of its boxes, the landmarks whose mean is the box's centre."""
PLACES = ("landmarks", "random")
SHAPES = ("box", "ellipse")
FILLS = ("black", "mean", "blur")
BLUR = 0.25
"""Standard deviation of the Gaussian of the fill ``blur``, in inter-ocular distances."""
TRIES = 100
"""Maximum number of redraws of a random place if the box overlaps another one."""


@dataclass(frozen=True)
class Size:
    """Size of a region's boxes in inter-ocular distances (IOD).

    Attributes:
        width: along the line through both eyes.
        height: across that line.
        lower: how far the box's centre lies below its landmark, across that line.
    """

    width: float
    height: float
    lower: float = 0.0


@dataclass(frozen=True)
class FaceMask:
    """Filled shapes over regions of a face, sized by the face and turned with the head's roll.

    The unit is the inter-ocular distance (IOD), the distance between the two eye centres, so the mask covers the
    same part of a near and of a far face. The release draws a box twice as wide and three times as high as the bounding
    box of dlib's six points of an eye. Measured on the release's masks, in MTCNN's eye distances, that is .81 IOD wide
    and .43 IOD high, centred .035 IOD below MTCNN's eye centre: the size in ``conf/mask/eyes.yaml``. Boxes of this size
    have the same area as the release's on average and cover 99 % of the eye points. Two things differ: the release's
    boxes are parallel to the image, and their height follows how open the eye is (.25 to .55 IOD).

    Attributes:
        regions: any of "eyes" (two boxes), "nose", "mouth" and "face", with their sizes.
        place: "landmarks" puts each box on its region; "random" puts as many boxes of the same size at random places
            in the crop, without overlap where there is room: a control for occlusion in general. The places depend on
            the face (`for_face`), not on the epoch.
        shape: "box" as in the paper, or the "ellipse" inscribed in it.
        fill: "black" as in the paper, the "mean" colour of the image, which leaves no high-contrast edge, or "blur",
            the image itself without its details.
        missed: share of the videos whose faces stay unmasked, 0..1 (`misses`); 0 as described. The release looks for
            a face once more before it masks a crop, and saves the crop unmasked where it finds none: .26 to .28 of the
            crops tried, clustered by video.
        seed: of the random places.

    Raises:
        UserError: no or an unknown region, an unknown place, shape or fill, a size that is not positive, or a
            share outside 0..1.
    """

    regions: Mapping[str, Size]
    place: str = "landmarks"
    shape: str = "box"
    fill: str = "black"
    missed: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.regions or (unknown := sorted(set(self.regions) - set(POINTS))):
            named = f"does not know {', '.join(unknown)}" if self.regions else "is empty"
            raise UserError(f"mask.regions {named}: choose from {', '.join(POINTS)}.")
        for name, choices in (("place", PLACES), ("shape", SHAPES), ("fill", FILLS)):
            if (value := getattr(self, name)) not in choices:
                raise UserError(f"mask.{name}={value} is unknown: choose from {', '.join(choices)}.")
        for name, size in self.regions.items():
            if size.width <= 0 or size.height <= 0:
                raise UserError(
                    f"mask.regions.{name}: width {size.width} and height {size.height} must be positive (in IOD)."
                )
        if not 0 <= self.missed <= 1:
            raise UserError(f"mask.missed={self.missed} is not a share of the videos: give a number from 0 to 1.")

    @classmethod
    def from_settings(cls, settings: Mapping) -> Self:
        """The mask with the settings of a file in ``conf/mask``.

        Raises:
            UserError: a key or a value is unknown.
        """
        values = {name: value for name, value in settings.items() if name != "name"}
        try:
            return cls(**values | {"regions": {name: Size(**size) for name, size in values["regions"].items()}})
        except (TypeError, KeyError, AttributeError) as error:
            raise UserError(
                f"mask: {error}; a mask has regions, place, shape, fill and missed, a region width and height."
            ) from error

    def for_face(self, seed: int) -> Self:
        """The same mask with random places keyed by `seed`, one seed per face."""
        return replace(self, seed=seed) if self.place == "random" else self

    def misses(self, video: str, seed: int) -> bool:
        """Whether the faces of `video` stay unmasked; the same for all its faces, in every epoch and stage.

        Args:
            video: its id in the manifest.
            seed: of the run; another seed misses other videos.
        """
        return self.missed > 0 and np.random.default_rng(key("missed", seed, video)).random() < self.missed

    @property
    def landmarks(self) -> list[int]:
        """The landmarks that the mask needs, as positions in `deepfake_ms.manifest.LANDMARKS`; always both eyes."""
        return sorted({0, 1, *(point for name in self.regions for points in POINTS[name] for point in points)})

    def region(self, height: int, width: int, landmarks: np.ndarray) -> np.ndarray:
        """The pixels that the mask covers.

        Args:
            height, width: of the image, in pixels.
            landmarks: MTCNN's five points as (x, y) in pixels, [5, 2], first the eye on the left of the image; pixel
                centres are at whole numbers. They may lie outside the image; those that the mask does not need may
                be NaN.

        Returns:
            bool [height, width]; nothing is covered if both eyes are the same point.
        """
        covered = np.zeros((height, width), dtype=bool)
        for rows, columns, inside in self._patches(height, width, landmarks):
            covered[rows, columns] |= inside
        return covered

    def draw(self, image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """A copy of `image` (uint8 RGB [H, W, 3]) with the mask on it; `landmarks` as in `region`."""
        masked = image.copy()
        blurred = _blur(image, landmarks) if self.fill == "blur" else None
        colour = _mean_colour(image) if self.fill == "mean" else 0
        for rows, columns, inside in self._patches(*image.shape[:2], landmarks):
            masked[rows, columns][inside] = colour if blurred is None else blurred[rows, columns][inside]
        return masked

    def _patches(self, height: int, width: int, landmarks: np.ndarray) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """Per box: rows and columns of a rectangle around it, and the covered pixels in that rectangle, bool."""
        points = np.asarray(landmarks, dtype=np.float64)
        between = points[1] - points[0]
        distance = float(np.hypot(*between))
        if not distance > 0:
            return
        along_x, along_y = (between / distance).tolist()
        boxes = []
        for name, size in self.regions.items():
            half_width, half_height = distance * size.width / 2, distance * size.height / 2
            reach_x = abs(along_x) * half_width + abs(along_y) * half_height
            reach_y = abs(along_y) * half_width + abs(along_x) * half_height
            for numbers in POINTS[name]:
                x, y = points[list(numbers)].mean(axis=0).tolist()
                x, y = x - size.lower * distance * along_y, y + size.lower * distance * along_x
                boxes.append((x, y, half_width, half_height, reach_x, reach_y))
        if self.place == "random":
            boxes = self._scattered(boxes, height, width)
        for box_x, box_y, half_width, half_height, reach_x, reach_y in boxes:
            rows = _whole_pixels(box_y - reach_y, box_y + reach_y, height)
            columns = _whole_pixels(box_x - reach_x, box_x + reach_x, width)
            y = np.arange(rows.start, rows.stop)[:, None]
            x = np.arange(columns.start, columns.stop)
            # Coordinates of every pixel in the head's own axes; the shape's edge lies at +-1.
            along = ((x - box_x) * along_x + (y - box_y) * along_y) / half_width
            across = ((y - box_y) * along_x - (x - box_x) * along_y) / half_height
            if self.shape == "box":
                yield rows, columns, np.maximum(np.abs(along), np.abs(across)) <= 1
            else:
                yield rows, columns, along**2 + across**2 <= 1

    def _scattered(self, boxes: list[tuple[float, ...]], height: int, width: int) -> list[tuple[float, ...]]:
        """The boxes, each at a random place inside the image where it overlaps no earlier one, if there is room."""
        random = np.random.default_rng(self.seed)
        placed: list[tuple[float, ...]] = []
        for *_, half_width, half_height, reach_x, reach_y in boxes:
            for _ in range(TRIES):
                x = random.uniform(min(reach_x, width / 2), max(width - reach_x, width / 2)) - 0.5
                y = random.uniform(min(reach_y, height / 2), max(height - reach_y, height / 2)) - 0.5
                if all(abs(x - at[0]) >= reach_x + at[4] or abs(y - at[1]) >= reach_y + at[5] for at in placed):
                    break
            placed.append((x, y, half_width, half_height, reach_x, reach_y))
        return placed


def _whole_pixels(low: float, high: float, count: int) -> slice:
    """The pixels in 0..count-1 between `low` and `high`, with one more on either side."""
    return slice(min(max(floor(low), 0), count), min(max(ceil(high) + 1, 0), count))


def _mean_colour(image: np.ndarray) -> np.ndarray:
    """[3] whole grey levels; `image.mean` takes ten times as long."""
    return np.rint(np.array(cv2.sumElems(image)[:3]) / (image.shape[0] * image.shape[1]))


def _blur(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    distance = float(np.hypot(*(landmarks[1] - landmarks[0]).tolist()))
    return cv2.GaussianBlur(image, (0, 0), max(BLUR * distance, 0.1))
