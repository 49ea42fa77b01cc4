"""The settings that determine the contents of a prepared folder."""

from dataclasses import dataclass
from typing import ClassVar

from deepfake_ms.errors import UserError


@dataclass(frozen=True)
class PreparationSettings:
    """How videos become face crops.

    Args:
        fps: sampling rate in frames per second of video (the paper: 1).
        crop_size: side of the square crops in pixels (the paper: 224).
        margin: added to the face box's longer side, as a fraction of it, both sides together.
        min_probability: faces with a lower detection probability are dropped, 0..1.

    Raises:
        UserError: a value is out of range.
    """

    PIPELINE_VERSION: ClassVar[int] = 3
    """Increase it whenever the same input gives other crops or manifests, so that older folders are not reused."""

    fps: float = 1.0
    crop_size: int = 224
    margin: float = 0.3
    min_probability: float = 0.9

    def __post_init__(self) -> None:
        if not self.fps > 0:
            raise UserError(f"fps must be above 0, not {self.fps}.")
        if self.crop_size < 1:
            raise UserError(f"crop_size must be at least 1 pixel, not {self.crop_size}.")
        if not self.margin >= 0:
            raise UserError(f"margin must be 0 or more, not {self.margin}.")
        if not 0 <= self.min_probability <= 1:
            raise UserError(f"min_probability must lie between 0 and 1, not {self.min_probability}.")

    def as_dict(self) -> dict[str, float]:
        """All settings and the pipeline version, as plain values."""
        return {
            "pipeline_version": self.PIPELINE_VERSION,
            "fps": float(self.fps),  # so that 1 and 1.0 are the same settings
            "crop_size": self.crop_size,
            "margin": float(self.margin),
            "min_probability": float(self.min_probability),
        }
