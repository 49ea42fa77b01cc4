"""Perturb whole frames before faces are detected in them, as DeeperForensics-1.0 does."""

from dataclasses import replace
from typing import Protocol

import numpy as np

from deepfake_ms.preprocessing.frames import Frame
from deepfake_ms.randomness import key


class FramePerturbation(Protocol):
    """The interface of perturbations."""

    crf: float | None
    """Of the H.264 compression of whole videos; None for a perturbation of single frames."""

    def __call__(self, image: np.ndarray, seed: int) -> np.ndarray:
        """`image` (RGB uint8 [H, W, 3]) perturbed, with draws that depend on `seed` alone."""


def perturb(frame: Frame, perturbation: FramePerturbation, video_id: str) -> Frame:
    """The perturbed frame; its draws depend on the video's id and the frame's index."""
    return replace(frame, image=perturbation(frame.image, key("perturb", video_id, frame.index)))
