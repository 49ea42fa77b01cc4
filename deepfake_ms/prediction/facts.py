"""The facts of a detector (`TrainedDetector.facts`) that come from a file, which may be damaged or anyone's.

Both files that hold them are checked here: detector.json of a run and config.json of an exported folder.
"""

import json
from collections.abc import Iterator
from reprlib import repr as shortened
from typing import Any

from deepfake_ms.data.perturbation import recorded_settings
from deepfake_ms.errors import UserError
from deepfake_ms.exporting.config import is_number
from deepfake_ms.prediction.reference import STATISTICS
from deepfake_ms.preprocessing.settings import PreparationSettings
from deepfake_ms.scoring.metrics import LEVELS

KEYS = {"name", "preparation", "thresholds", "temperatures", "synthetic", "about", "reference"}
LARGEST_CROP = 4096
"""Pixels per side up to which a value is believed."""


def find_fault(facts: object) -> str | None:
    """What is missing or impossible in the facts, as a short phrase; None if they describe a detector."""
    try:
        return next(_faults(facts), None)
    except KeyError as error:
        return f"{error} is missing"
    except (TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        return f"a value is of the wrong kind ({shortened(str(error))})"


def _faults(facts: Any) -> Iterator[str]:
    if not isinstance(facts, dict) or facts.keys() != KEYS:
        found = ", ".join(sorted(map(str, facts))) if isinstance(facts, dict) else type(facts).__name__
        yield f"it has {shortened(found)} instead of {', '.join(sorted(KEYS))}"
    json.dumps(facts, allow_nan=False)  # raises for NaN at any depth, which predictions must not repeat
    if not isinstance(facts["name"], str) or type(facts["synthetic"]) is not bool:
        yield "name or synthetic is of the wrong kind"
    for level in LEVELS:
        threshold, temperature = facts["thresholds"][level], facts["temperatures"][level]
        if threshold is not None and not (is_number(threshold) and 0 <= threshold <= 1):
            yield f"thresholds.{level}={shortened(threshold)} is not within 0 and 1"
        if temperature is not None and not (is_number(temperature) and temperature > 0):
            yield f"temperatures.{level}={shortened(temperature)} is not above 0"
    for name in ("thresholds", "temperatures"):
        if facts[name].keys() != set(LEVELS):
            yield f"{name} has other keys than {' and '.join(LEVELS)}"
    yield from _faults_of_reference(facts["reference"])
    yield from _faults_of_about(facts["about"])
    yield from _faults_of_preparation(facts["preparation"])


def _faults_of_reference(reference: dict[str, Any]) -> Iterator[str]:
    rows = [reference["mean"], *reference["precision"]]
    if len(rows) != STATISTICS + 1 or any(len(row) != STATISTICS or not all(map(is_number, row)) for row in rows):
        yield f"reference has no mean of {STATISTICS} numbers and no square matrix of them"
    for level in LEVELS:
        if not (is_number(limit := reference["limits"][level]) and limit >= 0):
            yield f"reference.limits.{level}={shortened(limit)} is not a distance"
    if not (is_number(side := reference["smallest_face"]) and side >= 0):
        yield f"reference.smallest_face={shortened(side)} is not a number of pixels"


def _faults_of_about(about: dict[str, Any]) -> Iterator[str]:
    named = {"checkpoint_sha256": about["checkpoint_sha256"], "code": about["code"], **about["protocol_card"]}
    for name, value in named.items():
        if not isinstance(value, str):
            yield f"about: {name}={shortened(value)} is not text"


def _faults_of_preparation(preparation: dict[str, Any]) -> Iterator[str]:
    if missing := PreparationSettings().as_dict().keys() - preparation.keys():
        yield f"preparation.{min(missing)} is missing"
    if type(version := preparation["pipeline_version"]) is not int:
        yield f"preparation.pipeline_version={shortened(version)} is not a whole number"
    try:
        settings = recorded_settings(preparation)
    except UserError as error:
        yield f"preparation: {str(error).rstrip('.')}"
    else:
        if settings.crop_size > LARGEST_CROP:
            yield f"preparation.crop_size={shortened(settings.crop_size)} is not a number of pixels"
