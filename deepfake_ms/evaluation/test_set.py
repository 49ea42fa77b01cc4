"""A test set: faces to score, of the run's own corpus or of another one, optionally perturbed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import pandas as pd

from deepfake_ms.data.dataset import FaceDataset
from deepfake_ms.data.perturbation import Perturbation
from deepfake_ms.data.prepared_faces import PreparedFaces
from deepfake_ms.errors import UserError
from deepfake_ms.evaluation.change import Change, measure_change
from deepfake_ms.labels import CLASS_NAMES
from deepfake_ms.training.run import Run

OWN = ("test", "validation")
"""Names of the test sets of every run: its own faces of that subset."""
AUTO, LISTED, ALL = "auto", "test", "all"
VIDEOS = (AUTO, LISTED, ALL)
"""Which videos of another corpus are scored, see `TestSet.of_corpus`."""

MEASURED = 200
"""Most faces on which the change by a perturbation is measured."""


class ChangesNothing(UserError):
    """A perturbation leaves every pixel of the faces as it is."""


@dataclass(frozen=True, eq=False)
class TestSet:
    """Faces that a finished run is scored on; never masked.

    Attributes:
        name: folder of the results, ``evaluation/<name>/``.
        faces: the prepared faces.
        rows: manifest positions of the faces to score, int [N].
        perturbation: changes the faces (compression, noise, ...), resized to the model's input, with draws that depend
            on the face only; None for unmodified faces.
        videos: which videos of the corpus it consists of: ``test`` (its own test list), ``all``, or None for the run's
            own faces if no list of the corpus defines them. Videos without a face belong to it, too.
        own: whether these are faces of the run's own corpus, assigned by its split.
        seen: ids of videos of the corpus that are left out because the run was trained or validated on them.
    """

    __test__ = False  # pytest must not collect it as a test class

    name: str
    faces: PreparedFaces = field(repr=False)
    rows: np.ndarray = field(repr=False)
    perturbation: Perturbation | None = None
    videos: str | None = None
    own: bool = True
    seen: frozenset[str] = frozenset()

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
        listed = subset == "test" and run.config["split"]["policy"] == "official"
        changes = _changes(perturbation)
        return cls(_name(subset, changes), run.faces, run.rows(subset), changes, LISTED if listed else None)

    @classmethod
    def of_run_videos(cls, run: Run, faces: PreparedFaces, name: str, perturbation: Mapping | None = None) -> Self:
        """The run's own test videos in another preparation of the same corpus, e.g. with other crops.

        Args:
            run: its split gives the videos.
            faces: of the same corpus.
            name: of the test set.
            perturbation: a choice of ``conf/perturbation``; its name becomes part of the test set's name.

        Raises:
            UserError: the split divides the frames of videos, none of the videos is there, or the perturbation is
                invalid.
        """
        policy = run.config["split"]["policy"]
        if policy == "paper_frames":
            raise UserError(
                f"{run.folder} was trained with split=paper_frames, which divides the frames of videos: its test set "
                "is defined in its own preparation only."
            )
        own = set(run.faces.manifest["video_id"].iloc[run.rows("test")])
        rows = np.flatnonzero(faces.manifest["video_id"].isin(own))
        if not len(rows):
            raise UserError(f"{faces.folder} has none of the test videos of {run.folder}: prepare the same corpus.")
        changes = _changes(perturbation)
        return cls(_name(name, changes), faces, rows, changes, LISTED if policy == "official" else None)

    @classmethod
    def of_corpus(
        cls, name: str, faces: PreparedFaces, videos: str = AUTO, perturbation: Mapping | None = None
    ) -> Self:
        """Faces of any prepared corpus.

        Args:
            name: of the test set.
            faces: of the corpus.
            videos: ``test`` takes the corpus's test list, ``all`` every labelled video, and ``auto`` the test list if
                the corpus has one. A corpus without any label is taken as it is: it can be scored, but not measured.
            perturbation: a choice of ``conf/perturbation``; its name becomes part of the test set's name.

        Raises:
            UserError: the name is that of a test set of every run, `videos` is unknown, the corpus has no test list,
                or the perturbation is invalid.
        """
        if name in OWN:
            raise UserError(f"data.name={name} is the name of the run's own {name} set: choose another one.")
        if videos not in VIDEOS:
            raise UserError(f"videos={videos} is unknown: choose from {', '.join(VIDEOS)}.")
        labelled = faces.manifest["label"].isin(CLASS_NAMES)
        listed = labelled & (faces.manifest["official_subset"] == "test")
        if videos == LISTED and not listed.any():
            raise UserError(f"{faces.folder.name} has no test list: set videos=all to score all of its videos.")
        if listed.any() and videos != ALL:
            taken, chosen = LISTED, listed
        else:
            taken, chosen = ALL, labelled if labelled.any() else ~labelled
            name += "_all" if listed.any() else ""  # beside the results on the test list
        changes = _changes(perturbation)
        return cls(_name(name, changes), faces, np.flatnonzero(chosen), changes, taken, own=False)

    @property
    def is_validation(self) -> bool:
        """Whether these are the validation faces, on which checkpoint and threshold are chosen."""
        return self.name == "validation"

    @property
    def labels(self) -> set[str]:
        """The labels that occur: real and fake, one of them, or unlabelled only."""
        return set(self.faces.manifest["label"].iloc[self.rows])

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

    def without_training_videos(self, run: Run) -> Self:
        """The test set without videos that the run was trained or validated on.

        Videos are the same if their ids and the names of their corpora are, also if one of the two is a union.

        Raises:
            UserError: no video is left.
        """
        used = run.split["subset"].isin(("train", "validation")).to_numpy()
        trained = set(_with_corpus(run.faces)[used])
        videos = _with_corpus(self.faces).iloc[self.rows]
        keep = ~videos.isin(trained).to_numpy()
        if not keep.any():
            raise UserError(
                f"{run.folder} was trained or validated on all videos of {self.name}: choose another corpus."
            )
        seen = frozenset(self.faces.manifest["video_id"].iloc[self.rows[~keep]])
        return replace(self, rows=self.rows[keep], seen=seen)

    def measure_change(self, input_size: int) -> Change:
        """How much the perturbation changes the faces, measured on at most `MEASURED` evenly spaced ones.

        Raises:
            ChangesNothing: it changes none of them.
            UserError: a crop cannot be read.
        """
        rows = self.rows[np.linspace(0, len(self.rows) - 1, min(MEASURED, len(self.rows)), dtype=int)]
        perturbed, plain = (
            replace(self, rows=rows, perturbation=each).dataset(input_size) for each in (self.perturbation, None)
        )
        change = measure_change((plain.pixels(face), perturbed.pixels(face)) for face in range(len(rows)))
        if not change.share_changed:
            raise ChangesNothing(
                f"perturbation={self.perturbation.name} at level {self.perturbation.level} changes no face at "
                f"{input_size} pixels: choose another type or level, or perturb whole frames in `deepfake-ms prepare`."
            )
        return change


def _with_corpus(faces: PreparedFaces) -> pd.Series:
    """Video id of every face with the name of its corpus in front; in a union it is there already."""
    prefix = "" if faces.about.get("parts") else f"{faces.about['data_name']}/"
    return prefix + faces.manifest["video_id"]


def _changes(perturbation: Mapping | None) -> Perturbation | None:
    return Perturbation.from_settings(perturbation) if perturbation else None


def _name(name: str, changes: Perturbation | None) -> str:
    return f"{name}_{changes.title}" if changes else name
