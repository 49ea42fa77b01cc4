"""Image transforms of released code that albumentations does not have, for uint8 RGB images [H, W, 3].

`GaussNoise13` is the noise of albumentations 1.3.0. The others are parts of the photometric augmentation of CADDM's
released code (Dong et al., CVPR 2023), written from its description; ``conf/augmentation/facial_swap_released.yaml``
has its strengths and probabilities.
"""

import albumentations as A
import cv2
import numpy as np

Range = tuple[float, float]


class GaussNoise13(A.ImageOnlyTransform):
    """Gaussian noise as in albumentations 1.3.0.

    Every channel has its own noise; the sum is clipped to 0..255 and truncated to whole grey levels.

    Args:
        variance: range from which the variance is drawn uniformly, in grey levels squared; 1.3.0's default is (10, 50),
            a standard deviation of 3.2 to 7.1.
        p: probability.
    """

    def __init__(self, variance: tuple[float, float] = (10, 50), p: float = 0.5):
        super().__init__(p=p)
        self.variance = variance

    def get_params_dependent_on_data(self, params: dict, data: dict) -> dict[str, np.ndarray]:
        deviation = self.py_random.uniform(*self.variance) ** 0.5
        return {"noise": deviation * self.random_generator.standard_normal(params["shape"], dtype=np.float32)}

    def apply(self, img: np.ndarray, noise: np.ndarray, **params: object) -> np.ndarray:
        return np.clip(img + noise, 0, 255).astype(np.uint8)


class StretchContrast(A.ImageOnlyTransform):
    """Map the range from the image's darkest to its brightest value, over all channels, to 0..255."""

    def apply(self, img: np.ndarray, **params: object) -> np.ndarray:
        low, high = float(img.min()), float(img.max())
        return ((img - low) * (255 / (high - low + 1))).astype(np.uint8)


class ScaleHSV(A.ImageOnlyTransform):
    """Multiply saturation and value (brightness); what exceeds 255 is clipped.

    Args:
        saturation, value: ranges from which the factors are drawn uniformly.
        p: probability.
    """

    def __init__(self, saturation: Range = (1, 1), value: Range = (1, 1), p: float = 0.5):
        super().__init__(p=p)
        self.saturation, self.value = saturation, value

    def get_params(self) -> dict[str, tuple[float, ...]]:
        return {"factors": (1, self.py_random.uniform(*self.saturation), self.py_random.uniform(*self.value))}

    def apply(self, img: np.ndarray, factors: tuple[float, ...], **params: object) -> np.ndarray:
        scaled = np.minimum(cv2.cvtColor(img, cv2.COLOR_RGB2HSV) * factors, 255)
        return cv2.cvtColor(scaled.astype(np.uint8), cv2.COLOR_HSV2RGB)


class Gamma(A.ImageOnlyTransform):
    """Raise the values, scaled to 0..1, to the power of 1 / gamma: above 1 the image becomes brighter.

    Args:
        gamma: range from which gamma is drawn uniformly; A.RandomGamma draws the power uniformly.
        p: probability.
    """

    def __init__(self, gamma: Range = (0.6, 1.4), p: float = 0.5):
        super().__init__(p=p)
        self.gamma = gamma

    def get_params(self) -> dict[str, float]:
        return {"power": 1 / self.py_random.uniform(*self.gamma)}

    def apply(self, img: np.ndarray, power: float, **params: object) -> np.ndarray:
        return cv2.LUT(img, (255 * (np.arange(256) / 255) ** power).astype(np.uint8))


class Tint(A.ImageOnlyTransform):
    """Blend the image with one colour.

    Args:
        colour: range from which each channel of the colour is drawn uniformly, in grey levels.
        weight: range from which the colour's share is drawn uniformly, 0..1.
        p: probability.
    """

    def __init__(self, colour: Range = (60, 255), weight: Range = (0, 0.3), p: float = 0.5):
        super().__init__(p=p)
        self.colour, self.weight = colour, weight

    def get_params(self) -> dict[str, object]:
        return {
            "colour": [self.py_random.uniform(*self.colour) for _ in range(3)],
            "weight": self.py_random.uniform(*self.weight),
        }

    def apply(self, img: np.ndarray, colour: list[float], weight: float, **params: object) -> np.ndarray:
        return ((1 - weight) * img + weight * np.array(colour)).astype(np.uint8)
