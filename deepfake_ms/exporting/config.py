"""config.json of an exported detector: how its model is built, what it expects, and what it depends on.

The file may come from anyone. Its values are checked before a model is built from them, and none of them can make the
model read a further file or the network.
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deepfake_ms.data.perturbation import recorded_settings
from deepfake_ms.errors import UserError
from deepfake_ms.models import MODELS, WITHOUT_FILES
from deepfake_ms.scoring.metrics import LEVELS

CONFIG_NAME = "config.json"
FORMAT = 1
"""Version of the folder."""
READS_FILES = ("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
"""Options of timm that name files."""


def model_arguments(model: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor arguments of a run's model for scoring: without weights to start from, nothing recomputed.

    Args:
        model: ``model`` of the run's configuration.
    """
    arguments = {name: value for name, value in model.items() if name not in ("name", "architecture")}
    fixed = {**WITHOUT_FILES, "gradient_checkpointing": False}
    return {name: fixed.get(name, value) for name, value in arguments.items()}


def read_config(folder: Path) -> dict[str, Any]:
    """The checked content of config.json.

    Keys: `format`; `architecture` and `arguments` of the model; `input` (`crop_size` of the faces, the model's
    `input_size`, `mean`, `std`); `detector`, the facts of `deepfake_ms.prediction.detector.TrainedDetector`; `license`;
    `provenance`; `files`, name → sha256; `onnx`; `parity`.

    Raises:
        UserError: the file is missing, or a value is missing or impossible.
    """
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise UserError(f"{path} is missing: give a folder that `deepfake-ms export` wrote.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}): copy or export the folder again.") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        found = config.get("format") if isinstance(config, dict) else type(config).__name__
        raise UserError(f"{path} has format {found}, but this version reads format {FORMAT}: export the run again.")
    try:
        wrong = next(_wrong_values(config), None)
    except KeyError as error:
        wrong = f"{error} is missing"
    except (TypeError, AttributeError) as error:
        wrong = f"a value is of the wrong kind ({error})"
    if wrong:
        raise UserError(f"{path}: {wrong.rstrip('.')}: copy or export the folder again.")
    return config


def _wrong_values(config: dict[str, Any]) -> Iterator[str]:
    """What is wrong with the values, a phrase each."""
    if config["architecture"] not in MODELS:
        yield f"architecture={config['architecture']} is none of {', '.join(MODELS)}"
    for name, value in _named({**config["arguments"]}):
        if name in READS_FILES or (name in WITHOUT_FILES and value):
            yield f"arguments: {name}={value} would make the model read another file"
    given = config["input"]
    for name in ("crop_size", "input_size"):
        if type(given[name]) is not int or not 1 <= given[name] <= 4096:
            yield f"input.{name}={given[name]} is not a number of pixels"
    for name, low in (("mean", -math.inf), ("std", 0.0)):
        if len(given[name]) != 3 or not all(_is_number(each) and each > low for each in given[name]):
            yield f"input.{name}={given[name]} is not one number per colour"
    detector = config["detector"]
    if not isinstance(detector["name"], str) or type(detector["synthetic"]) is not bool:
        yield "detector.name or detector.synthetic is of the wrong kind"
    for level in LEVELS:
        threshold, temperature = detector["thresholds"][level], detector["temperatures"][level]
        if threshold is not None and not (_is_number(threshold) and 0 <= threshold <= 1):
            yield f"detector.thresholds.{level}={threshold} is not within 0 and 1"
        if temperature is not None and not (_is_number(temperature) and temperature > 0):
            yield f"detector.temperatures.{level}={temperature} is not above 0"
        if not (_is_number(limit := detector["reference"]["limits"][level]) and limit >= 0):
            yield f"detector.reference.limits.{level}={limit} is not a distance"
    mean, precision = detector["reference"]["mean"], detector["reference"]["precision"]
    rows = [mean, *precision]
    if len(rows) != len(mean) + 1 or any(len(row) != len(mean) or not all(map(_is_number, row)) for row in rows):
        yield "detector.reference has no square matrix of numbers"
    if not (_is_number(side := detector["reference"]["smallest_face"]) and side >= 0):
        yield f"detector.reference.smallest_face={side} is not a number of pixels"
    dict(detector["about"])
    try:
        recorded_settings(detector["preparation"])
    except UserError as error:
        yield f"detector.preparation: {error}"
    for name, sha256 in config["files"].items():
        if Path(name).name != name or len(sha256) != 64:
            yield f"files: {name} is not a file of the folder"


def _named(value: object) -> Iterator[tuple[str, object]]:
    """Every key at any depth, with its value."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield name, each
            yield from _named(each)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
