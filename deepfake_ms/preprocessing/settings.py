"""The settings that determine the contents of a prepared folder."""

from dataclasses import asdict, dataclass
from math import isfinite
from numbers import Real
from typing import Any, ClassVar

from deepfake_ms.errors import UserError
from deepfake_ms.preprocessing.perturbed_frames import FramePerturbation

_CHOICES = {"face": ("largest", "first", "tracked"), "edge": ("clip", "black"), "enlarge": ("area", "cubic")}


@dataclass(frozen=True)
class PreparationSettings:
    """How videos become face crops. The defaults are those of ``conf/preparation/paper.yaml``.

    Args:
        fps: sampling rate in frames per second of video.
        crop_size: side of the square crops in pixels.
        face: which face of a frame is kept, see `deepfake_ms.preprocessing.faces.choose_faces`.
        margin: added to the face box's longer side, as a fraction of it, both sides together; above -1. A negative
            margin crops inside the box.
        offset: how far the centre of the crop lies below the centre of the box, as a fraction of the box's longer side.
        edge: what happens to the part of a crop that lies outside the frame. ``clip`` removes it and stretches the rest
            to a square; ``black`` leaves it black.
        enlarge: interpolation of crops that are smaller than `crop_size`; larger ones are always reduced by area.
        min_probability: faces with a lower detection probability are dropped, 0..1.
        perturbation: changes the frames before detection; a dataclass of plain values. None for none.

    Raises:
        UserError: a value is out of range or not a number.
    """

    PIPELINE_VERSION: ClassVar[int] = 4
    """Increase it whenever the same input gives other crops or manifests, so that older folders are not reused."""

    fps: float = 1.0
    crop_size: int = 224
    face: str = "largest"
    margin: float = -0.2
    offset: float = 0.07
    edge: str = "clip"
    enlarge: str = "area"
    min_probability: float = 0.9
    perturbation: FramePerturbation | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name == "perturbation":
                continue
            if name in _CHOICES:
                if value not in _CHOICES[name]:
                    raise UserError(f"{name}={value} is unknown: choose from {', '.join(_CHOICES[name])}.")
            elif isinstance(value, bool) or not isinstance(value, Real) or not isfinite(value):
                raise UserError(f"{name} must be a number, not {value}.")
        if not self.fps > 0:
            raise UserError(f"fps must be above 0, not {self.fps}.")
        if self.crop_size < 1 or self.crop_size != int(self.crop_size):
            raise UserError(f"crop_size must be a whole number of pixels, at least 1, not {self.crop_size}.")
        if not self.margin > -1:
            raise UserError(f"margin must be above -1, not {self.margin}.")
        if not -1 <= self.offset <= 1:
            raise UserError(f"offset must lie between -1 and 1, not {self.offset}.")
        if not 0 <= self.min_probability <= 1:
            raise UserError(f"min_probability must lie between 0 and 1, not {self.min_probability}.")
        for name in ("fps", "margin", "offset", "min_probability"):
            object.__setattr__(self, name, float(getattr(self, name)))  # so that 1 and 1.0 are the same settings
        object.__setattr__(self, "crop_size", int(self.crop_size))

    def as_dict(self) -> dict[str, Any]:
        """All settings and the pipeline version, as plain values; without the perturbation if there is none."""
        settings = asdict(self)
        if self.perturbation is None:
            del settings["perturbation"]  # so that folders prepared before it existed are found
        return {"pipeline_version": self.PIPELINE_VERSION, **settings}
