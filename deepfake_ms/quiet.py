"""Suppresses irrelevant log messages and warnings from libraries."""

import logging
import warnings

HARMLESS = (
    ".*treespec, LeafSpec.*",  # Lightning with a newer torch
    ".*non-tuple sequence for multidimensional indexing.*",  # timm, when resizing the position tables of a Swin
    ".*does not have many workers.*",  # the number of workers is configured
    ".*broadcast_buffers. is deprecated.*",  # its replacement is missing in some supported torch versions
    ".*exists and is not empty.*",  # a resumed stage
    ".*number of training batches.*smaller than the logging interval.*",
    ".*You have overridden `on_after_batch_transfer`.*",  # as intended: the detector normalises on its device
    ".*module.s. in eval mode at the start of training.*",  # frozen parts of the model
)


def hush() -> None:
    """Silence advertisements, repetitions of our own settings, and harmless warnings."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    for message in HARMLESS:
        warnings.filterwarnings("ignore", message)
