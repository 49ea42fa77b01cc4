"""RECCE: a detector that learns to reconstruct real faces and to classify by what it cannot reconstruct."""

from deepfake_ms.models.recce.model import RECCE, Analysis

__all__ = ["RECCE", "Analysis"]
