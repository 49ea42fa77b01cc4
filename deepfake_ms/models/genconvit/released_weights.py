"""The public checkpoints of GenConViT: ``genconvit_ed_inference.pth`` and ``genconvit_vae_inference.pth``."""

import logging
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from deepfake_ms.errors import UserError

log = logging.getLogger(__name__)

DEAD_BRANCH = ("embedder.", "backbone.patch_embed.")
LAST_LAYER = ("fc2.weight", "fc2.bias")


def load_released_weights(model: nn.Module, path: str) -> None:
    """Put the weights of the released file `path` into `model`, a GenConViT network with the released function.

    The file is a state dict, or a dict that has one as ``state_dict``. Its copies of the Swin that the release never
    calls are left out, for their names and shapes depend on the version of timm that wrote them; everything else must
    be there, in the shapes of `model`. The rows of the last layer change places: the release has fake before real.

    Raises:
        UserError: the file cannot be read, or does not hold what `model` needs.
    """
    weights = {_our_name(key): value for key, value in _read(Path(path)).items()}
    dead = [key for key in weights if key.startswith(DEAD_BRANCH)]
    parameters = sum(weights.pop(key).numel() for key in dead)
    wanted = {key: value for key, value in model.state_dict().items() if not key.startswith(DEAD_BRANCH)}

    complaints = {
        "lacks": [key for key in wanted if key not in weights],
        "has the unknown": [key for key in weights if key not in wanted],
        "has in another shape": [
            f"{key} {tuple(weights[key].shape)} for {tuple(wanted[key].shape)}"
            for key in wanted
            if key in weights and weights[key].shape != wanted[key].shape
        ],
    }
    if any(complaints.values()):
        told = "; it ".join(f"{what} {_shortened(keys)}" for what, keys in complaints.items() if keys)
        raise UserError(
            f"{path} does not fit {type(model).__name__}: it {told}: give each network its own released file and leave "
            "backbone, features and the auto-encoder as released."
        )
    for key in LAST_LAYER:
        weights[key] = weights[key].flip(0)
    model.load_state_dict(weights, strict=False)
    log.info("%s: dropped the dead branch, %d keys with %s numbers", path, len(dead), f"{parameters:,}")


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"checkpoint={path} is no file: download it, or set checkpoint=null.")
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
        raise UserError(f"{path} holds no state dict: name a released GenConViT checkpoint.")
    return dict(content)


def _our_name(key: str) -> str:
    """The VAE's backbone has a name of its own in the release."""
    return "backbone." + key.removeprefix("convnext_backbone.") if key.startswith("convnext_backbone.") else key


def _shortened(keys: list[str], shown: int = 3) -> str:
    rest = f" and {len(keys) - shown} more" if len(keys) > shown else ""
    return ", ".join(keys[:shown]) + rest
