"""Keeps the libraries' chatter out of what our users read."""

import logging
import warnings

HARMLESS = (
    ".*treespec, LeafSpec.*",  # lightning with a newer torch
    ".*non-tuple sequence for multidimensional indexing.*",  # timm, when it resizes a Swin's position tables
    ".*does not have many workers.*",  # as many as the configuration says
    ".*broadcast_buffers. is deprecated.*",  # its successor is not in all the torch versions we allow
    ".*exists and is not empty.*",  # a resumed stage
    ".*number of training batches.*smaller than the logging interval.*",
)


def hush() -> None:
    """Silence advertisements, restatements of our own settings and warnings known to be harmless."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    for message in HARMLESS:
        warnings.filterwarnings("ignore", message)
