"""CADDM: a detector that also has to say where on the face the artifact is."""

from deepfake_ms.models.caddm.model import CADDM

__all__ = ["CADDM"]
