"""A trained detector with everything that scoring needs: weights, preparation, thresholds, calibration, provenance."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from reprlib import repr as shortened
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from deepfake_ms.data.dataset import resize_face
from deepfake_ms.data.perturbation import recorded_settings
from deepfake_ms.errors import UserError
from deepfake_ms.exporting.config import CONFIG_NAME
from deepfake_ms.exporting.folder import is_exported, load_model_of
from deepfake_ms.labels import FAKE
from deepfake_ms.models.base import DetectionModel
from deepfake_ms.prediction.facts import find_fault
from deepfake_ms.prediction.reference import Reference
from deepfake_ms.preprocessing.settings import PreparationSettings

BATCH_SIZE = 32
LONGEST_FAULT = 300
"""Characters of a fault that are shown."""


@dataclass(frozen=True, eq=False)
class TrainedDetector:
    """A detector that scores faces as the evaluation of its run does.

    Attributes:
        name: model, training data and seed, for people.
        preparation: how its training faces were cut out of videos.
        thresholds: per level (frame, video), the decision threshold of P(fake) that is best on the run's validation
            set; NaN if that lacks a class.
        temperatures: per level, of temperature scaling, fitted on validation; NaN if that lacks a class.
        synthetic: whether it was trained on drawn faces.
        about: what every number depends on, in plain values: `protocol_card`, `data`, `checkpoint_sha256`, `code` and
            more.
        reference: tells which faces are unlike the training data.
        model: in evaluation mode.
    """

    name: str
    preparation: PreparationSettings
    thresholds: Mapping[str, float]
    temperatures: Mapping[str, float]
    synthetic: bool
    about: Mapping[str, Any] = field(repr=False)
    reference: Reference = field(repr=False)
    model: DetectionModel = field(repr=False)

    @torch.inference_mode()
    def probabilities(self, crops: np.ndarray) -> np.ndarray:
        """P(fake) of face crops in 32-bit floats, before calibration: float32 [N].

        Args:
            crops: RGB, uint8 [N, 3, S, S], as `preparation` makes them.

        Raises:
            UserError: a probability is not finite.
        """
        found = [np.empty(0, np.float32)]
        for start in range(0, len(crops), BATCH_SIZE):
            logits = self.model(normalise(self.model, crops[start : start + BATCH_SIZE]))
            found.append(logits.float().softmax(dim=1)[:, FAKE].cpu().numpy())
        probabilities = np.concatenate(found)
        if not np.isfinite(probabilities).all():
            raise UserError(
                f"{self.name} gives a P(fake) that is not finite: its weights are damaged; copy or export them again, "
                "or train again with trainer.lightning.precision=32-true under a new name."
            )
        return probabilities

    def facts(self) -> dict[str, Any]:
        """Everything but the weights, in plain values; None in place of NaN."""
        return {
            "name": self.name,
            "preparation": self.preparation.as_dict(),
            "thresholds": _null_for_nan(self.thresholds),
            "temperatures": _null_for_nan(self.temperatures),
            "synthetic": self.synthetic,
            "about": dict(self.about),
            "reference": self.reference.as_record(),
        }

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any], model: DetectionModel) -> Self:
        """The detector that `facts` describes.

        Args:
            facts: from `facts`, perhaps read from a file.
            model: with its trained weights.

        Raises:
            UserError: a value is missing or impossible, or its faces were prepared by another version of the pipeline.
        """
        if fault := find_fault(facts):
            raise UserError(f"{fault[:LONGEST_FAULT]}: copy or export the folder again.")
        version = facts["preparation"]["pipeline_version"]
        if version != PreparationSettings.PIPELINE_VERSION:
            raise UserError(
                f"{facts['name']} was trained on faces of pipeline version {shortened(version)}, and this version cuts "
                f"out other faces ({PreparationSettings.PIPELINE_VERSION}): use the version that trained it, or train "
                "again."
            )
        thresholds, temperatures = (
            {level: np.nan if value is None else value for level, value in facts[name].items()}
            for name in ("thresholds", "temperatures")
        )
        return cls(
            facts["name"],
            replace(recorded_settings(facts["preparation"]), perturbation=None),  # frames are taken as they are
            thresholds,
            temperatures,
            facts["synthetic"],
            facts["about"],
            Reference.from_record(facts["reference"]),
            model.eval(),
        )


def load_detector(source: Path, device: str = "cpu", prepared: Path | None = None) -> TrainedDetector:
    """The detector of a finished run or of an exported folder.

    Args:
        source: folder of the run, whose prepared faces are needed the first time only, or folder that
            ``deepfake-ms export`` wrote.
        device: as torch names it.
        prepared: folder of the run's faces, if they were moved.

    Raises:
        UserError: there is no finished run, its checkpoint has changed, or its faces are missing the first time; or a
            file of the exported folder is missing, damaged or changed.
    """
    source = Path(source)
    if is_exported(source):
        config, model = load_model_of(source)
        try:
            return TrainedDetector.from_facts(config["detector"], model.to(device))
        except UserError as error:
            raise UserError(f"{source / CONFIG_NAME}: detector: {error}") from error
    from deepfake_ms.prediction.finished_run import open_run  # needs Lightning, which takes seconds to import

    return open_run(source, device, prepared)


def normalise(model: DetectionModel, crops: np.ndarray) -> Tensor:
    """The model's input: crops, uint8 [N, 3, S, S], at its size and normalised, float32 [N, 3, size, size]."""
    size, device = model.input_size, next(model.parameters()).device
    if crops.shape[2:] != (size, size):
        crops = np.stack([resize_face(crop.transpose(1, 2, 0), size).transpose(2, 0, 1) for crop in crops])
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (model.mean, model.std))
    return torch.from_numpy(np.ascontiguousarray(crops)).to(device).float().div_(255).sub_(mean).div_(std)


def _null_for_nan(values: Mapping[str, float]) -> dict[str, float | None]:
    """The same with None in place of NaN, which JSON does not have."""
    return {name: None if np.isnan(value) else float(value) for name, value in values.items()}
