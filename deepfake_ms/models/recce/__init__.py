"""RECCE: a detector that reconstructs real faces and classifies by the reconstruction error."""

from deepfake_ms.models.recce.model import RECCE, Analysis

__all__ = ["RECCE", "Analysis"]
