"""timm models by name, with mistakes in the name or the options told in one sentence."""

import difflib

import timm
from timm.models import get_pretrained_cfg
from torch import nn

from deepfake_ms.errors import UserError


def create_timm_model(name: str, pretrained: bool, **options) -> nn.Module:
    """The timm model `name`; with `pretrained` its weights are downloaded (and cached) by timm.

    Args:
        name: architecture, with the tag of its weights where it matters: ``convnext_tiny.fb_in1k``.
        pretrained: load the weights of that tag; otherwise initialise at random.
        options: for the architecture's constructor, e.g. ``num_classes``.

    Raises:
        UserError: timm does not know the name or an option, or the weights cannot be had or do not fit the options.
    """
    _check_name(name)
    try:
        return timm.create_model(name, pretrained=pretrained, **options)
    except TypeError as error:
        raise UserError(f"timm's {name} refuses the options {options}: {error}.") from error
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
            "leave out what changes its shape, or train from scratch with pretrained=false."
        ) from error


def has_fixed_input_size(name: str) -> bool:
    """Whether the timm model `name` must be built for its image size, as a Vision Transformer must.

    Raises:
        UserError: timm does not know the name.
    """
    _check_name(name)
    return get_pretrained_cfg(name, allow_unregistered=False).fixed_input_size


def _check_name(name: str) -> None:
    names = timm.list_models() + timm.list_models(pretrained=True)
    if name not in names:
        nearest = difflib.get_close_matches(name, names, n=1, cutoff=0)[0]
        raise UserError(f"timm {timm.__version__} has no model {name!r}: the nearest name is {nearest!r}.")
