"""Perturbations: what lowers the quality of test faces, by type and level."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from deepfake_ms.errors import UserError
from deepfake_ms.preprocessing.settings import PreparationSettings

if TYPE_CHECKING:
    import albumentations as A


@dataclass(frozen=True)
class Perturbation:
    """One type of perturbation at one level.

    Attributes:
        name: of the type.
        level: 1 is the mildest.
        transforms: as `deepfake_ms.data.augmentation.ordered` lists them.
    """

    name: str
    level: int
    transforms: list[dict]

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self | None:
        """The chosen level of a file in ``conf/perturbation``; None for ``none``, which has no levels.

        Raises:
            UserError: there is no such level, or a transform or an argument of it is unknown.
        """
        name, level, levels = settings["name"], settings["level"], settings["levels"]
        if not levels and level is None:
            return None
        if not levels:
            raise UserError(f"perturbation.level={level}: {name} has no levels; choose a type with perturbation=...")
        if type(level) is not int or not 1 <= level <= len(levels):
            raise UserError(f"perturbation.level={level}: {name} has the levels 1 (mildest) to {len(levels)}.")
        # Takes a second to import, which `prepare` seldom needs.
        from deepfake_ms.data.augmentation import ordered

        chosen = cls(name, level, ordered({"name": name, "transforms": levels[level - 1]})["transforms"])
        chosen.build()
        return chosen

    @property
    def title(self) -> str:
        """Type and level as a name, such as ``jpeg_3``."""
        return f"{self.name}_{self.level}"

    @property
    def crf(self) -> float | None:
        """The constant rate factor if the only transform is ``H264``: preparation then encodes whole videos."""
        transform, *others = self.transforms
        return transform["crf"] if transform["transform"] == "H264" and not others else None

    def build(self) -> "A.Compose":
        """The transforms; `deepfake_ms.data.augmentation.augment` applies them.

        Raises:
            UserError: a transform or an argument is unknown, or a value is not allowed.
        """
        from deepfake_ms.data.augmentation import build_augmentation

        return build_augmentation({"name": self.title, "p": 1.0, "transforms": self.transforms, "facial_swap": None})

    def __call__(self, image: np.ndarray, seed: int) -> np.ndarray:
        """`image` (RGB uint8 [H, W, 3]) perturbed, with draws that depend on `seed` alone."""
        from deepfake_ms.data.augmentation import augment

        return augment(self._built, image, seed)

    @cached_property
    def _built(self) -> "A.Compose":
        return self.build()


def preparation_settings(values: Mapping[str, Any]) -> PreparationSettings:
    """The settings of ``conf/preparation``, of which ``perturbation`` is a choice of ``conf/perturbation``.

    Raises:
        UserError: a value is out of range, or the perturbation is invalid.
    """
    perturbation = values.get("perturbation")
    return PreparationSettings(
        **{**values, "perturbation": Perturbation.from_settings(perturbation) if perturbation else None}
    )


def recorded_settings(recorded: Mapping[str, Any]) -> PreparationSettings:
    """The settings in the description of a prepared folder (`PreparationSettings.as_dict`)."""
    values = {name: value for name, value in recorded.items() if name != "pipeline_version"}
    perturbation = values.get("perturbation")
    return PreparationSettings(**{**values, "perturbation": Perturbation(**perturbation) if perturbation else None})
