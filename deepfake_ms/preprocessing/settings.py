"""The settings that determine the contents of a prepared folder."""

from dataclasses import asdict, dataclass
from math import isfinite
from numbers import Real
from typing import Any, ClassVar

from deepfake_ms.errors import UserError
from deepfake_ms.preprocessing.perturbed_frames import FramePerturbation

_CHOICES = {
    "face": ("largest", "first", "tracked"),
    "edge": ("clip", "black"),
    "enlarge": ("area", "cubic", "linear"),
    "align": ("none", "five_points"),
}
_WHOLE = ("crop_size", "frames", "max_frames")
_OPTIONAL = ("fps", "frames", "max_frames")
_ADDED_LATER = ("frames", "max_frames", "align", "perturbation")
"""Left out of the fingerprint while they have their default, so that older folders keep theirs."""


@dataclass(frozen=True)
class PreparationSettings:
    """How videos become face crops. The defaults are those of ``conf/preparation/paper.yaml``.

    Exactly one of `fps` and `frames` is given, and the other is None.

    Args:
        fps: sampling rate in frames per second of video. Of a video that consists of images, every image is taken.
        crop_size: side of the square crops in pixels.
        face: which face of a frame is kept, see `deepfake_ms.preprocessing.faces.choose_faces`.
        margin: added to the face box's longer side, as a fraction of it, both sides together; above -1. A negative
            margin crops inside the box. With ``align=five_points`` it is added to the side of the template instead, so
            0.3 is what DeepfakeBench calls ``scale=1.3``.
        offset: how far the centre of the crop lies below the centre of the box, as a fraction of the box's longer side.
        edge: what happens to the part of a crop that lies outside the frame. ``clip`` removes it and stretches the rest
            to a square; ``black`` leaves it black.
        enlarge: interpolation of crops that are smaller than `crop_size`; larger ones are reduced by area. With
            ``align=five_points``, ``linear`` applies to both.
        min_probability: faces with a lower detection probability are dropped, 0..1.
        frames: number of evenly spaced frames per video, from the first to the last, see
            `deepfake_ms.preprocessing.sampling.evenly_spaced`. Of a video that consists of images, so many images. A
            video with fewer frames gives each of them once.
        max_frames: keep at most so many of the sampled frames or images, from the start of the video; None keeps all.
        align: ``five_points`` turns and scales the frame so that the five landmarks come close to a fixed template, see
            `deepfake_ms.preprocessing.alignment`; the box only serves to choose the face. It needs ``offset=0``,
            ``edge=black`` and ``enlarge=linear``. ``none`` crops around the box.
        perturbation: changes the frames before detection; a dataclass of plain values. None for none.

    Raises:
        UserError: a value is out of range or not a number, both or none of `fps` and `frames` are given, or `align`
            does not fit the other settings.
    """

    PIPELINE_VERSION: ClassVar[int] = 4
    """Increase it whenever the same input gives other crops or manifests, so that older folders are not reused."""

    fps: float | None = 1.0
    crop_size: int = 224
    face: str = "largest"
    margin: float = -0.2
    offset: float = 0.07
    edge: str = "clip"
    enlarge: str = "area"
    min_probability: float = 0.9
    frames: int | None = None
    max_frames: int | None = None
    align: str = "none"
    perturbation: FramePerturbation | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name == "perturbation":
                continue
            if name in _CHOICES:
                if value not in _CHOICES[name]:
                    raise UserError(f"{name}={value} is unknown: choose from {', '.join(_CHOICES[name])}.")
            elif value is None and name in _OPTIONAL:
                continue
            elif isinstance(value, bool) or not isinstance(value, Real) or not isfinite(value):
                raise UserError(f"{name} must be a number, not {value}.")
        if self.fps is None and self.frames is None:
            raise UserError("fps and frames are both null: set one of them, e.g. fps=1 or frames=32.")
        if self.fps is not None and self.frames is not None:
            raise UserError(f"fps={self.fps} and frames={self.frames} are both set: set one of them to null.")
        if self.fps is not None and not self.fps > 0:
            raise UserError(f"fps must be above 0, not {self.fps}.")
        for name in _WHOLE:
            value = getattr(self, name)
            if value is not None and (value < 1 or value != int(value)):
                raise UserError(f"{name} must be a whole number, at least 1, not {value}.")
        if not self.margin > -1:
            raise UserError(f"margin must be above -1, not {self.margin}.")
        if not -1 <= self.offset <= 1:
            raise UserError(f"offset must lie between -1 and 1, not {self.offset}.")
        if not 0 <= self.min_probability <= 1:
            raise UserError(f"min_probability must lie between 0 and 1, not {self.min_probability}.")
        if self.align == "five_points" and (self.offset, self.edge, self.enlarge) != (0, "black", "linear"):
            raise UserError(
                "align=five_points needs offset=0, edge=black and enlarge=linear: set these three, or choose "
                "preparation=deepfakebench."
            )
        for name, value in asdict(self).items():
            if name not in (*_CHOICES, "perturbation") and value is not None:  # so that 1 and 1.0 are the same settings
                object.__setattr__(self, name, int(value) if name in _WHOLE else float(value))

    def as_dict(self) -> dict[str, Any]:
        """The settings and the pipeline version, as plain values, for the fingerprint and the folder's description.

        `frames`, `max_frames`, `align` and `perturbation` are included only if they differ from their defaults, so that
        folders prepared before these settings existed are still found.
        """
        settings = {
            name: value
            for name, value in asdict(self).items()
            if name not in _ADDED_LATER or value != getattr(PreparationSettings, name)
        }
        return {"pipeline_version": self.PIPELINE_VERSION, **settings}
