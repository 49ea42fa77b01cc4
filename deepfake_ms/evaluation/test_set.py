"""A test set: faces to score, optionally perturbed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from deepfake_ms.data.augmentation import build_augmentation, ordered
from deepfake_ms.data.dataset import FaceDataset
from deepfake_ms.data.prepared_faces import PreparedFaces
from deepfake_ms.errors import UserError
from deepfake_ms.training.run import Run

OWN = ("test", "validation")
"""Names of the test sets of every run: its own faces of that subset."""


@dataclass(frozen=True, eq=False)
class TestSet:
    """Faces that a finished run is scored on; never masked.

    Attributes:
        name: folder of the results, ``evaluation/<name>/``.
        faces: the prepared faces.
        rows: manifest positions of the faces to score, int [N].
        perturbation: settings as in ``conf/perturbation`` that change the faces (compression, noise, ...), with draws
            that depend on the face only; None for unmodified faces.

    Raises:
        UserError: the perturbation has an unknown transform or argument.
    """

    __test__ = False  # pytest must not collect it as a test class

    name: str
    faces: PreparedFaces = field(repr=False)
    rows: np.ndarray = field(repr=False)
    perturbation: dict | None = None

    @classmethod
    def of_run(cls, run: Run, subset: str, perturbation: Mapping | None = None) -> Self:
        """The run's own test or validation faces.

        Args:
            run: its split gives the faces.
            subset: ``test`` or ``validation``.
            perturbation: a choice of ``conf/perturbation``; its name becomes part of the test set's name.

        Raises:
            UserError: there is no such test set, or the perturbation is invalid.
        """
        if subset not in OWN:
            raise UserError(f"test_set={subset} is unknown; choose from {', '.join(OWN)}.")
        changes = ordered(perturbation) if perturbation and perturbation["transforms"] else None
        if changes:
            build_augmentation(changes)
        name = f"{subset}_{changes['name']}" if changes else subset
        return cls(name, run.faces, run.rows(subset), changes)

    @property
    def is_validation(self) -> bool:
        """Whether these are the validation faces, on which checkpoint and threshold are chosen."""
        return self.name == "validation"

    def dataset(self, input_size: int) -> FaceDataset:
        """The faces, resized to `input_size` x `input_size` pixels."""
        return FaceDataset(
            self.faces.manifest,
            self.rows,
            self.faces.folder,
            augmentation=build_augmentation(self.perturbation) if self.perturbation else None,
            input_size=input_size,
            stage=self.name,
        )
