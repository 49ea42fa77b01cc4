"""Create timm models by name, with one-sentence errors for unknown names, options and unavailable weights."""

import difflib
import errno
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from urllib.parse import urlsplit

import huggingface_hub
import timm
import torch
from timm.models import EfficientNet, get_pretrained_cfg
from torch import nn

from deepfake_ms.errors import UserError
from deepfake_ms.files import sha256_of
from deepfake_ms.models.packaged_weights import load_packaged_weights, packaged_weights

PATIENCE_S = 5
"""Seconds to wait for the first response of the server with the pretrained weights."""
READS_FILES = ("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
"""Options of timm that name files."""
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""Names of timm's weights on the Hub, in the order in which timm looks for them."""
NETWORK_MODULES = ("huggingface_hub", "httpx", "httpcore", "requests", "urllib")
"""Prefixes of modules whose exceptions mean that a download failed."""


def create_timm_model(name: str, pretrained: bool, block_groups: int | None = None, **options) -> nn.Module:
    """Create the timm model `name`; with `pretrained`, its weights come from an installed package or from timm.

    timm downloads and caches its weights; `downloaded_weights` identifies them. Without a network, cached weights are
    used, and others are refused within seconds.

    Args:
        name: architecture, optionally with the tag of its pretrained weights: ``convnext_tiny.fb_in1k``.
        pretrained: load the weights with that tag; otherwise initialise randomly.
        block_groups: keep only the first groups of blocks of an EfficientNet, without the convolution after the last;
            None keeps all. The features then have the width of the last group that is kept.
        options: arguments of the architecture's constructor, e.g. ``num_classes``.

    Raises:
        UserError: timm does not know the name or an option, the weights are unavailable or do not fit the options, or
            the model does not have so many groups of blocks.
    """
    _check_name(name)
    packaged = packaged_weights(name) if pretrained else None
    model = _create(name, pretrained and not packaged, options)
    if packaged:
        load_packaged_weights(model, packaged)
    elif pretrained:
        model.downloaded_weights = {} if set(options) & set(READS_FILES) else _digest_download(name)
    if block_groups is not None:
        _keep_block_groups(model, name, block_groups)
    return model


def downloaded_weights(model: nn.Module) -> dict[str, str]:
    """timm name -> sha256 of the file whose weights were loaded, for each part of `model` that was downloaded."""
    return {
        name: digest for part in model.modules() for name, digest in getattr(part, "downloaded_weights", {}).items()
    }


def _digest_download(name: str) -> dict[str, str]:
    """timm name -> sha256 of its weights in the cache of the Hub's client or of torch; empty if in neither."""
    source = get_pretrained_cfg(name)
    if source.hf_hub_id:
        names = [source.hf_hub_filename] if source.hf_hub_filename else HUB_FILES
        cached = (huggingface_hub.try_to_load_from_cache(source.hf_hub_id, file) for file in names)
        files = [Path(file) for file in cached if isinstance(file, str)]
    else:
        files = [Path(torch.hub.get_dir(), "checkpoints", Path(source.url or "").name)]
    file = next((file for file in files if file.is_file()), None)
    return {f"{source.architecture}.{source.tag}": sha256_of(file)} if file else {}


def _create(name: str, pretrained: bool, options: Mapping) -> nn.Module:
    silent = _silent_server(name) if pretrained else None
    try:
        with _hub_offline() if silent else nullcontext():
            return timm.create_model(name, pretrained=pretrained, **options)
    except Exception as error:
        if getattr(error, "errno", None) == errno.ENOSPC:
            raise
        text = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(":. ")
        if isinstance(error, TypeError) or not pretrained:  # architectures check few of their options
            raise UserError(f"timm's {name} rejects the options {options}: {text}.") from error
        if isinstance(error, OSError) or type(error).__module__.startswith(NETWORK_MODULES):
            reason = f"{silent} does not answer" if silent else text
            raise UserError(
                f"The pretrained weights of {name} cannot be downloaded ({reason}): connect to the network once, or "
                "set model.pretrained=false to train from scratch."
            ) from error
        raise UserError(
            f"The pretrained weights of {name} cannot be loaded with the options {options} ({text}): remove the "
            "options that change its shape, or set model.pretrained=false to train from scratch."
        ) from error


def _keep_block_groups(model: nn.Module, name: str, number: int) -> None:
    if not isinstance(model, EfficientNet):
        raise UserError(f"block_groups={number}: {name} is not an EfficientNet; leave it out.")
    if not 1 <= number <= len(model.blocks):
        raise UserError(f"block_groups={number}: {name} has {len(model.blocks)} groups of blocks; keep 1 to all.")
    model.blocks = model.blocks[:number]
    model.conv_head, model.bn2 = nn.Identity(), nn.Identity()
    last = [layer for layer in model.blocks.modules() if isinstance(layer, nn.Conv2d)][-1]
    model.num_features = model.head_hidden_size = last.out_channels
    model.reset_classifier(model.num_classes, model.global_pool.pool_type)


def has_fixed_input_size(name: str) -> bool:
    """Whether the timm model `name` must be built for a fixed image size, like a Vision Transformer.

    Raises:
        UserError: timm does not know the name.
    """
    _check_name(name)
    return get_pretrained_cfg(name, allow_unregistered=False).fixed_input_size


def _silent_server(name: str) -> str | None:
    """The host of the pretrained weights if it does not respond, else None.

    The Hugging Face Hub client retries for most of a minute, and torch's client has no timeout.
    """
    source = get_pretrained_cfg(name)
    url = huggingface_hub.constants.ENDPOINT if source.hf_hub_id else source.url
    if huggingface_hub.constants.HF_HUB_OFFLINE or not url:
        return None
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PATIENCE_S).close()
    except urllib.error.HTTPError:
        return None  # an error status is a response, too
    except OSError as error:
        # The client may know a certificate that Python does not.
        return None if isinstance(getattr(error, "reason", None), ssl.SSLError) else urlsplit(url).netloc
    return None


@contextmanager
def _hub_offline() -> Iterator[None]:
    """Within the context, the Hub client uses its cache only, and torch's client times out after `PATIENCE_S`."""
    constants, timeout = huggingface_hub.constants, socket.getdefaulttimeout()
    constants.HF_HUB_OFFLINE = True
    socket.setdefaulttimeout(PATIENCE_S)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = False
        socket.setdefaulttimeout(timeout)


def _check_name(name: str) -> None:
    names = timm.list_models() + timm.list_models(pretrained=True)
    if name not in names:
        nearest = difflib.get_close_matches(name, names, n=1, cutoff=0)[0]
        raise UserError(f"timm {timm.__version__} has no model {name!r}; did you mean {nearest!r}?")
