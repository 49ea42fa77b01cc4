"""Create timm models by name, with one-sentence errors for unknown names and options."""

import difflib

import timm
from timm.models import get_pretrained_cfg
from torch import nn

from deepfake_ms.errors import UserError


def create_timm_model(name: str, pretrained: bool, **options) -> nn.Module:
    """Create the timm model `name`; with `pretrained`, timm downloads and caches its weights.

    Args:
        name: architecture, optionally with the tag of its pretrained weights: ``convnext_tiny.fb_in1k``.
        pretrained: load the weights with that tag; otherwise initialise randomly.
        options: arguments of the architecture's constructor, e.g. ``num_classes``.

    Raises:
        UserError: timm does not know the name or an option, or the weights are unavailable or do not fit the options.
    """
    _check_name(name)
    try:
        return timm.create_model(name, pretrained=pretrained, **options)
    except TypeError as error:
        raise UserError(f"timm's {name} rejects the options {options}: {error}.") from error
    except OSError as error:
        raise UserError(
            f"The pretrained weights of {name} cannot be downloaded ({type(error).__name__}): connect to the network "
            "once, or train from scratch with pretrained=false."
        ) from error
    except RuntimeError as error:
        if not pretrained:
            raise
        reason = str(error).splitlines()[0].rstrip(":.")
        raise UserError(
            f"The pretrained weights of {name} cannot be loaded with the options {options} ({reason}): "
            "remove the options that change its shape, or train from scratch with pretrained=false."
        ) from error


def has_fixed_input_size(name: str) -> bool:
    """Whether the timm model `name` must be built for a fixed image size, like a Vision Transformer.

    Raises:
        UserError: timm does not know the name.
    """
    _check_name(name)
    return get_pretrained_cfg(name, allow_unregistered=False).fixed_input_size


def _check_name(name: str) -> None:
    names = timm.list_models() + timm.list_models(pretrained=True)
    if name not in names:
        nearest = difflib.get_close_matches(name, names, n=1, cutoff=0)[0]
        raise UserError(f"timm {timm.__version__} has no model {name!r}; did you mean {nearest!r}?")
