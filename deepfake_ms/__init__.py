"""deepfake_ms: multi-stage training and evaluation of deepfake detectors."""

import gc
import sys
from importlib.metadata import version

__version__ = version("deepfake_ms")

if sys.argv[:1] == ["-m"]:  # so while Python looks for the module of python -m deepfake_ms.COMMAND
    gc.disable()  # until `cli` has all modules of the command: a third of its start
