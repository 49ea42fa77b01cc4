"""A run: its folder, its record, its faces and their split."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from rich.console import Console

from deepfake_ms.data.augmentation import build_augmentation
from deepfake_ms.data.dataset import FaceDataset
from deepfake_ms.data.face_masks import FaceMask
from deepfake_ms.data.face_pairs import find_partners
from deepfake_ms.data.loaders import StageData
from deepfake_ms.data.prepared_faces import PreparedFaces
from deepfake_ms.errors import UserError
from deepfake_ms.files import write_json
from deepfake_ms.manifest import MANIFEST_NAME
from deepfake_ms.models import WITHOUT_FILES
from deepfake_ms.provenance import code_digest, code_version, library_versions
from deepfake_ms.randomness import key
from deepfake_ms.training.curriculum import Curriculum, Stage
from deepfake_ms.training.detector import Detector
from deepfake_ms.training.run_folder import RECORD_NAME, SPLIT_NAME, find_record, new_record, read_record
from deepfake_ms.training.run_split import assign_split, read_split, write_split


@dataclass(frozen=True, eq=False)
class Run:
    """One training of one curriculum, finished or not.

    Attributes:
        folder: see `deepfake_ms.training.run_folder`.
        record: of run.json.
        faces: the prepared faces that it is trained on.
        split: one row per face: `sample_id`, `subset`, and whether it belongs to the balanced training set.
    """

    folder: Path
    record: dict = field(repr=False)
    faces: PreparedFaces = field(repr=False)
    split: pd.DataFrame = field(repr=False)

    @classmethod
    def start(cls, folder: Path, config: dict, faces: PreparedFaces, console: Console) -> Self:
        """Start a run in `folder`, or continue the run in it.

        The split is assigned, audited, printed and checked. The record is only written by `claim`.

        Args:
            folder: of the run.
            config: everything that determines the results, in plain containers (`deepfake_ms.assembly.run_config`).
            faces: to train on.
            console: where to print the split.

        Raises:
            UserError: the folder holds a run with another configuration, or the split cannot be used.
        """
        record = find_record(folder, config)
        split = assign_split(folder, faces, config["split"], config["seed"], console)
        about = {
            "prepared": str(faces.folder.resolve()),
            "manifest_sha256": faces.manifest_sha256,
            "synthetic": faces.about["synthetic"],
            "code": code_version(),
            "code_sha256": code_digest(),
            "libraries": library_versions(),
        }
        return cls(folder, record or new_record(config, about), faces, split)

    def claim(self) -> None:
        """Write the record and the split, unless they exist; from then on, the folder belongs to this run."""
        if rank_zero_only.rank == 0 and not (self.folder / RECORD_NAME).is_file():
            write_split(self.folder, self.split)
            write_json(self.folder / RECORD_NAME, self.record)

    def note_downloads(self, weights: dict[str, str]) -> None:
        """Record the weights that training starts from: name in timm -> sha256 of the file."""
        changed = self.record.get("downloaded_weights") != weights
        self.record["downloaded_weights"] = weights
        if changed and rank_zero_only.rank == 0 and (self.folder / RECORD_NAME).is_file():
            write_json(self.folder / RECORD_NAME, self.record)

    @classmethod
    def open(cls, folder: Path, prepared: Path | None = None, prepared_root: Path | None = None) -> Self:
        """Open a run that `start` has created.

        Args:
            folder: of the run; it may have been moved.
            prepared: folder of its faces; None searches for the recorded content, first in the recorded folder.
            prepared_root: where to search next.

        Raises:
            UserError: there is no run, or its faces are missing or have changed.
        """
        record = read_record(folder)
        fingerprint = record["config"]["data"]["fingerprint"]
        moved = sorted(prepared_root.glob(f"*-{fingerprint}")) if prepared_root else []
        candidates = [prepared] if prepared else [Path(record["prepared"]), *moved]
        there = (PreparedFaces.read(each) for each in candidates if (each / MANIFEST_NAME).is_file())
        faces = next((each for each in there if each.manifest_sha256 == record["manifest_sha256"]), None)
        if faces is None:
            where = " and ".join(map(str, candidates))
            raise UserError(
                f"The faces that {folder} was trained on ({fingerprint}) are not in {where}: give their folder with "
                "prepared=..."
            )
        split = read_split(folder, faces)
        if split is None:
            raise UserError(f"{folder / SPLIT_NAME} is missing: run the same train command again.")
        return cls(folder, record, faces, split)

    @property
    def config(self) -> dict:
        """The recorded configuration: everything that determines the results."""
        return self.record["config"]

    @property
    def seed(self) -> int:
        """Of the training."""
        return self.config["seed"]

    @cached_property
    def curriculum(self) -> Curriculum:
        """The stages with their settings."""
        return Curriculum.from_record(self.config)

    def rows(self, subset: str) -> np.ndarray:
        """Manifest positions of the faces of train, validation, test or unused: int [N]."""
        return np.flatnonzero(self.split["subset"] == subset)

    @property
    def training_rows(self) -> np.ndarray:
        """Manifest positions of the balanced training set: int [N]."""
        return np.flatnonzero(self.split["balanced"])

    def detector(self, stage: Stage, from_scratch: bool = True) -> Detector:
        """The detector of one stage with its initial weights, which the seed determines.

        Args:
            stage: of the curriculum.
            from_scratch: False builds only the architecture, for weights that are loaded afterwards: nothing is
                downloaded or read.

        Raises:
            UserError: the model rejects a value, or the stage freezes a part that it does not have.
        """
        return build_detector(self.config, stage, from_scratch)

    def stage_data(self, stage: Stage, detector: Detector, num_workers: int) -> StageData:
        """The training and validation faces of one stage, in the size that the detector's model takes."""
        manifest, folder, size = self.faces.manifest, self.faces.folder, detector.model.input_size
        kinds, partners = stage.augmentation["facial_swap"], None
        if kinds:
            partners = find_partners(manifest, self.training_rows, self.rows("train"))
        training = FaceDataset(
            manifest,
            self.training_rows,
            folder,
            mask=FaceMask.from_settings(stage.mask) if stage.mask else None,
            augmentation=build_augmentation(stage.augmentation),
            partners=partners,
            swap_kinds=kinds,
            input_size=size,
            seed=self.seed,
            stage=stage.name,
        )
        validation = FaceDataset(manifest, self.rows("validation"), folder, input_size=size)
        return StageData(training, validation, stage.batch_size, num_workers, self.seed, stage.name)


def build_detector(config: dict, stage: Stage, from_scratch: bool = True) -> Detector:
    """The detector of a run's configuration; see `Run.detector`, which needs the faces, too."""
    settings = {name: value for name, value in config["model"].items() if name not in ("name", "architecture")}
    model = {"name": config["model"]["architecture"], **settings}
    architecture = {name: WITHOUT_FILES.get(name, value) for name, value in model.items()}
    torch.manual_seed(key("weights", config["seed"]))
    detector = Detector(
        model=model if from_scratch else architecture,
        class_weights=stage.loss["class_weights"],
        optimizer=stage.optimizer,
        schedule=stage.schedule,
        freeze=stage.freeze,
    )
    detector.hparams["model"] = architecture  # checkpoints are equal, whether a stage was interrupted or not
    return detector
