"""The detectors, built by name from plain values.

Every model maps normalised face crops, float32 ``[B, 3, S, S]``, to logits ``[B, 2]`` (column 0 real, column 1 fake,
see `deepfake_ms.labels`) and tells what it expects: ``input_size`` (S, in pixels), ``mean`` and ``std`` (per channel,
for images scaled to 0..1).
"""

import difflib
import inspect

from torch import nn

from deepfake_ms.errors import UserError
from deepfake_ms.models.genconvit import GenConViTED

MODELS: dict[str, type[nn.Module]] = {"genconvit_ed": GenConViTED}


def build_model(name: str, **values) -> nn.Module:
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
