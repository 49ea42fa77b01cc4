"""A test set: faces to score, optionally perturbed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from deepfake_ms.data.dataset import FaceDataset
from deepfake_ms.data.perturbation import Perturbation
from deepfake_ms.data.prepared_faces import PreparedFaces
from deepfake_ms.errors import UserError
from deepfake_ms.evaluation.change import Change, measure_change
from deepfake_ms.training.run import Run

OWN = ("test", "validation")
"""Names of the test sets of every run: its own faces of that subset."""

MEASURED = 200
"""Most faces on which the change by a perturbation is measured."""


@dataclass(frozen=True, eq=False)
class TestSet:
    """Faces that a finished run is scored on; never masked.

    Attributes:
        name: folder of the results, ``evaluation/<name>/``.
        faces: the prepared faces.
        rows: manifest positions of the faces to score, int [N].
        perturbation: changes the faces (compression, noise, ...), resized to the model's input, with draws that depend
            on the face only; None for unmodified faces.
    """

    __test__ = False  # pytest must not collect it as a test class

    name: str
    faces: PreparedFaces = field(repr=False)
    rows: np.ndarray = field(repr=False)
    perturbation: Perturbation | None = None

    @classmethod
    def of_run(cls, run: Run, subset: str, perturbation: Mapping | None = None) -> Self:
        """The run's own test or validation faces.

        Args:
            run: its split gives the faces.
            subset: ``test`` or ``validation``.
            perturbation: a choice of ``conf/perturbation``; its name and level become part of the test set's name.

        Raises:
            UserError: there is no such test set, or the perturbation is invalid.
        """
        if subset not in OWN:
            raise UserError(f"test_set={subset} is unknown; choose from {', '.join(OWN)}.")
        changes = Perturbation.from_settings(perturbation) if perturbation else None
        name = f"{subset}_{changes.title}" if changes else subset
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
            augmentation=self.perturbation.build() if self.perturbation else None,
            input_size=input_size,
            stage=self.name,
        )

    def measure_change(self, input_size: int) -> Change:
        """How much the perturbation changes the faces, measured on at most `MEASURED` evenly spaced ones.

        Raises:
            UserError: it changes none of them, or a crop cannot be read.
        """
        rows = self.rows[np.linspace(0, len(self.rows) - 1, min(MEASURED, len(self.rows)), dtype=int)]
        perturbed, plain = (
            replace(self, rows=rows, perturbation=each).dataset(input_size) for each in (self.perturbation, None)
        )
        change = measure_change((plain.pixels(face), perturbed.pixels(face)) for face in range(len(rows)))
        if not change.share_changed:
            raise UserError(
                f"perturbation={self.perturbation.name} at level {self.perturbation.level} changes no face at "
                f"{input_size} pixels: choose another type or level, or perturb whole frames in `deepfake-ms prepare`."
            )
        return change
