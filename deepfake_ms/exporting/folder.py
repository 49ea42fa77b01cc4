"""The part of an exported folder that this package reads: config.json and the weights.

config.json             see `deepfake_ms.exporting.config`
model.safetensors       the weights
model.onnx, model.pt2   the same detector for other runtimes, see `deepfake_ms.exporting.graphs`
README.md               the model card
"""

from pathlib import Path
from typing import Any

from safetensors.torch import load_model, save_model

from deepfake_ms.errors import UserError
from deepfake_ms.exporting.config import CONFIG_NAME, read_config
from deepfake_ms.exporting.scorer import FaceScorer
from deepfake_ms.files import sha256_of
from deepfake_ms.models import build_model
from deepfake_ms.models.base import DetectionModel

WEIGHTS_NAME = "model.safetensors"


def from_pretrained(folder: str | Path) -> FaceScorer:
    """The detector of an exported folder as a torch module: RGB crops, uint8 [N, 3, S, S], to P(fake), float32 [N].

    Its attribute `config` is the content of config.json. No code in the folder is executed.

    Args:
        folder: from ``deepfake-ms export``.

    Raises:
        UserError: a file is missing or damaged, or was changed after the export.
    """
    config, model = load_model_of(Path(folder))
    scorer = FaceScorer(model, config["input"]["crop_size"])
    scorer.config = config
    return scorer


def is_exported(folder: Path) -> bool:
    """Whether a folder is an exported detector (and not a run)."""
    return (folder / CONFIG_NAME).is_file()


def load_model_of(folder: Path) -> tuple[dict[str, Any], DetectionModel]:
    """The checked config.json of an exported folder, and its model in evaluation mode.

    Raises:
        UserError: a file is missing or damaged, or was changed after the export, or this version of timm builds
            another model.
    """
    config = read_config(folder)
    path = _unchanged(folder, WEIGHTS_NAME, config)
    try:
        model = build_model(config["architecture"], **config["arguments"])
        expected = {"input_size": model.input_size, "mean": list(model.mean), "std": list(model.std)}
        if wrong := [name for name, value in expected.items() if config["input"][name] != value]:
            raise UserError(f"it has another {' and '.join(wrong)} than the model of this version of timm")
        load_model(model, path)
    except UserError as error:
        reason = str(error).rstrip(".")
        raise UserError(f"{folder / CONFIG_NAME}: {reason}: copy or export the folder again.") from error
    except Exception as error:  # the values in config.json may be anyone's
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} does not fit {CONFIG_NAME} ({reason}): copy or export the folder again.") from error
    return config, model.eval()


def write_weights(folder: Path, model: DetectionModel) -> None:
    """Write model.safetensors; parameters that two modules share are written once."""
    save_model(model, str(folder / WEIGHTS_NAME), metadata={"format": "pt"})


def _unchanged(folder: Path, name: str, config: dict[str, Any]) -> Path:
    """The path of a file whose sha256 is recorded."""
    path = folder / name
    if not path.is_file():
        raise UserError(f"{path} is missing: copy or export the folder again.")
    if sha256_of(path) != config["files"].get(name):
        raise UserError(f"{path} is not complete or was changed after the export: copy or export the folder again.")
    return path
