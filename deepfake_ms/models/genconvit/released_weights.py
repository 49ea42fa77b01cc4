"""Loads the public GenConViT checkpoints ``genconvit_ed_inference.pth`` and ``genconvit_vae_inference.pth``."""

import logging
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from deepfake_ms.errors import UserError

log = logging.getLogger(__name__)

UNUSED_SWIN = ("embedder.", "backbone.patch_embed.")
LAST_LAYER = ("fc2.weight", "fc2.bias")


def load_released_weights(model: nn.Module, path: str) -> None:
    """Load the released weights in `path` into `model`, a GenConViT network that computes the released function.

    The file holds a state dict, or a dict with one under ``state_dict``. Its copies of the Swin, which the release
    never calls, are skipped because their names and shapes depend on the timm version that wrote them. All other
    weights of `model` must be present with the same shapes. The rows of the last layer are swapped, because the release
    orders fake before real.

    Raises:
        UserError: the file cannot be read or does not match `model`.
    """
    weights = {_our_name(key): value for key, value in _read(Path(path)).items()}
    skipped = [key for key in weights if key.startswith(UNUSED_SWIN)]
    values = sum(weights.pop(key).numel() for key in skipped)
    expected = {key: value for key, value in model.state_dict().items() if not key.startswith(UNUSED_SWIN)}

    problems = {
        "missing": [key for key in expected if key not in weights],
        "unexpected": [key for key in weights if key not in expected],
        "wrong shape": [
            f"{key} {tuple(weights[key].shape)} instead of {tuple(expected[key].shape)}"
            for key in expected
            if key in weights and weights[key].shape != expected[key].shape
        ],
    }
    if any(problems.values()):
        found = "; ".join(f"{problem}: {_shortened(keys)}" for problem, keys in problems.items() if keys)
        raise UserError(
            f"{path} does not fit {type(model).__name__} ({found}): give each network its own released file and keep "
            "backbone, features and the autoencoder as released."
        )
    for key in LAST_LAYER:
        weights[key] = weights[key].flip(0)
    model.load_state_dict(weights, strict=False)
    log.info("%s: skipped %d keys (%s values) of the Swin that is never called", path, len(skipped), f"{values:,}")


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"checkpoint={path} does not exist: download it, or set checkpoint=null.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{path} cannot be read as a PyTorch checkpoint of plain tensors ({type(error).__name__}): "
            "download it again."
        ) from error
    if isinstance(content, Mapping) and "state_dict" in content:
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{path} does not contain a state dict: give a released GenConViT checkpoint.")
    return dict(content)


def _our_name(key: str) -> str:
    """The key in our state dict: the release names the VAE's backbone differently."""
    return "backbone." + key.removeprefix("convnext_backbone.") if key.startswith("convnext_backbone.") else key


def _shortened(keys: list[str], shown: int = 3) -> str:
    rest = f" and {len(keys) - shown} more" if len(keys) > shown else ""
    return ", ".join(keys[:shown]) + rest
