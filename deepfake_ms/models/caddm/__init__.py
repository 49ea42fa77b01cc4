"""CADDM: a detector that also learns to locate the artifact on the face."""

from deepfake_ms.models.caddm.model import CADDM

__all__ = ["CADDM"]
