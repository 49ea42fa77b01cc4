"""deepfake_ms: multi-stage training and evaluation of deepfake detectors."""

from importlib.metadata import version

__version__ = version("deepfake_ms")
