"""The detectors, built by name from plain values; see `DetectionModel` for what all of them do."""

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


def build_model(name: str, **values) -> DetectionModel:
    """The model `name` with the constructor arguments `values`, as a checkpoint stores them.

    Raises:
        UserError: the name or one of the values is unknown, or the model refuses a value.
    """
    if name not in MODELS:
        nearest = difflib.get_close_matches(name, MODELS, n=1, cutoff=0)
        raise UserError(f"There is no model {name!r}: the nearest is {nearest[0]!r} (known: {', '.join(MODELS)}).")
    try:
        inspect.signature(MODELS[name]).bind(**values)
    except TypeError as error:
        known = ", ".join(inspect.signature(MODELS[name]).parameters)
        raise UserError(f"Model {name!r}: {error}; it takes {known}.") from error
    return MODELS[name](**values)
