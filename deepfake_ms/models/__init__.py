"""The detectors, built by name from plain values; `DetectionModel` is their common interface."""

import difflib
import inspect

from deepfake_ms.errors import UserError
from deepfake_ms.models.base import DetectionModel
from deepfake_ms.models.caddm import CADDM
from deepfake_ms.models.genconvit import GenConViT, GenConViTED, GenConViTVAE
from deepfake_ms.models.recce import RECCE
from deepfake_ms.models.timm_classifier import TimmClassifier

MODELS: dict[str, type[DetectionModel]] = {
    "genconvit": GenConViT,
    "genconvit_ed": GenConViTED,
    "genconvit_vae": GenConViTVAE,
    "recce": RECCE,
    "timm_classifier": TimmClassifier,
    "caddm": CADDM,
}

WITHOUT_FILES = {"pretrained": False, "embedder_pretrained": False, "checkpoint": None}
"""Arguments of models that name weights to start from → the value without any."""


def build_model(name: str, **arguments) -> DetectionModel:
    """Build the model `name` from constructor arguments, as a checkpoint stores them.

    Raises:
        UserError: the name or an argument is unknown, or the model rejects a value.
    """
    if name not in MODELS:
        nearest = difflib.get_close_matches(name, MODELS, n=1, cutoff=0)
        raise UserError(f"There is no model {name!r}; did you mean {nearest[0]!r}? Available: {', '.join(MODELS)}.")
    try:
        inspect.signature(MODELS[name]).bind(**arguments)
    except TypeError as error:
        known = ", ".join(inspect.signature(MODELS[name]).parameters)
        raise UserError(f"Model {name!r}: {error}; its arguments are {known}.") from error
    return MODELS[name](**arguments)
