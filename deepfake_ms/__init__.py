"""deepfake_ms: multi-stage training and evaluation of deepfake detectors."""

import gc
import sys
from importlib.metadata import version

__version__ = version("deepfake_ms")

# Garbage collection takes a third of the time in which a command loads its modules. `cli` enables it again.
if sys.argv[:1] == ["-m"]:  # Python's value while it looks up the module of python -m deepfake_ms.COMMAND
    gc.disable()
