"""Perturbations that albumentations does not have, for uint8 RGB images [H, W, 3].

`GreyBlocks`, `YCbCrNoise` and `Pixelation` are written from the description and the parameters of DeeperForensics-1.0
(Jiang et al., CVPR 2020; ``perturbation/distortions.py`` of its repository); ``conf/perturbation`` has their strengths.
"""

import albumentations as A
import cv2
import numpy as np

from deepfake_ms.preprocessing.recompression import recompress_image


class GreyBlocks(A.ImageOnlyTransform):
    """Grey blocks of 8 x 8 pixels at random places, which may overlap.

    Args:
        count: number of blocks for every whole 256 pixels of the image's shorter side; a smaller image gets none.
        p: probability.
    """

    SIDE = 8

    def __init__(self, count: int, p: float = 1):
        super().__init__(p=p)
        self.count = count

    def get_params_dependent_on_data(self, params: dict, data: dict) -> dict[str, np.ndarray]:
        height, width = params["shape"][:2]
        count = min(height, width) // 256 * self.count
        return {"corners": self.random_generator.integers(0, (height - self.SIDE, width - self.SIDE), (count, 2))}

    def apply(self, img: np.ndarray, corners: np.ndarray, **params: object) -> np.ndarray:
        img = img.copy()
        for top, left in corners:
            img[top : top + self.SIDE, left : left + self.SIDE] = 128
        return img


class YCbCrNoise(A.ImageOnlyTransform):
    """Gaussian noise in YCbCr of studio range: Y has 219 steps, Cb and Cr have 224, where full range has 255.

    Args:
        variance: of each component, on a scale on which 255 steps are 1.
        p: probability.
    """

    STEPS = (219, 224, 224)

    def __init__(self, variance: float, p: float = 1):
        super().__init__(p=p)
        if variance < 0:
            raise ValueError("variance must not be negative")
        self.deviations = variance**0.5 * 255 * 255 / np.array(self.STEPS, np.float32)

    def get_params_dependent_on_data(self, params: dict, data: dict) -> dict[str, np.ndarray]:
        return {"noise": self.deviations * self.random_generator.standard_normal(params["shape"], dtype=np.float32)}

    def apply(self, img: np.ndarray, noise: np.ndarray, **params: object) -> np.ndarray:
        noisy = cv2.cvtColor(img.astype(np.float32), cv2.COLOR_RGB2YCrCb) + noise
        return np.clip(cv2.cvtColor(noisy, cv2.COLOR_YCrCb2RGB), 0, 255).astype(np.uint8)


class Pixelation(A.ImageOnlyTransform):
    """Reduce the image and enlarge it again, both by bilinear interpolation.

    Args:
        factor: height and width are divided by it and rounded down.
        p: probability.
    """

    def __init__(self, factor: int, p: float = 1):
        super().__init__(p=p)
        if factor < 1:
            raise ValueError("factor must be at least 1")
        self.factor = factor

    def apply(self, img: np.ndarray, **params: object) -> np.ndarray:
        height, width = img.shape[:2]
        small = cv2.resize(img, (max(1, width // self.factor), max(1, height // self.factor)))
        return cv2.resize(small, (width, height))


class H264(A.ImageOnlyTransform):
    """Encode the image as the only frame of an H.264 video, and decode it.

    Args:
        crf: constant rate factor, 0 (best) to 51.
        p: probability.
    """

    def __init__(self, crf: float, p: float = 1):
        super().__init__(p=p)
        if not 0 <= crf <= 51:
            raise ValueError("crf must lie between 0 and 51")
        self.crf = crf

    def apply(self, img: np.ndarray, **params: object) -> np.ndarray:
        return recompress_image(img, self.crf)
