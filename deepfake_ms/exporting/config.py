"""config.json of an exported detector: how its model is built, what it expects, and what it depends on.

The file may come from anyone. Its values are checked before a model is built from them, and none of them can make the
model read a further file or the network.
"""

import json
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

from deepfake_ms.errors import UserError
from deepfake_ms.models import MODELS, WITHOUT_FILES
from deepfake_ms.models.timm_models import READS_FILES

CONFIG_NAME = "config.json"
FORMAT = 1
"""Version of the folder."""


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
    `input_size`, `mean`, `std`); `detector`, the facts of `deepfake_ms.prediction.detector.TrainedDetector`, which
    checks them; `license`; `provenance`; `files`, name → sha256; `onnx`; `parity`.

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
    found = config.get("format") if isinstance(config, dict) else type(config).__name__
    if type(found) is not int or found != FORMAT:
        found = shortened(found)
        raise UserError(f"{path} has format {found}, but this version reads format {FORMAT}: export the run again.")
    try:
        wrong = next(_wrong_values(config), None)
    except KeyError as error:
        wrong = f"{error} is missing"
    except (TypeError, AttributeError, ValueError) as error:
        wrong = f"a value is of the wrong kind ({shortened(str(error))})"
    if wrong:
        raise UserError(f"{path}: {wrong.rstrip('.')}: copy or export the folder again.")
    return config


def _wrong_values(config: dict[str, Any]) -> Iterator[str]:
    """What is wrong with the values, a phrase each."""
    if config["architecture"] not in MODELS:
        yield f"architecture={shortened(config['architecture'])} is none of {', '.join(MODELS)}"
    for name, value in _named({**config["arguments"]}):
        if name in READS_FILES or (name in WITHOUT_FILES and value):
            yield f"arguments: {name}={shortened(value)} would make the model read another file"
    given = config["input"]
    for name in ("crop_size", "input_size"):
        if type(given[name]) is not int or not 1 <= given[name] <= 4096:
            yield f"input.{name}={shortened(given[name])} is not a number of pixels"
    for name, low in (("mean", -math.inf), ("std", 0.0)):
        if len(given[name]) != 3 or not all(is_number(each) and each > low for each in given[name]):
            yield f"input.{name}={shortened(given[name])} is not one number per colour"
    if not isinstance(config["detector"], dict):
        yield "detector is not a table of facts"
    for name, sha256 in config["files"].items():
        if Path(name).name != name or len(sha256) != 64:
            yield f"files: {name} is not a file of the folder"


def _named(value: object) -> Iterator[tuple[str, object]]:
    """Every key at any depth, with its value."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield name, each
            yield from _named(each)


def is_number(value: object) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
