"""A trained detector as a folder that needs neither its run nor, in other runtimes, this package."""

from deepfake_ms.exporting.folder import from_pretrained

__all__ = ["from_pretrained"]
