"""Memory that a step has freed is there for the next one."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="glibc only")

PROGRAM = """
import ctypes, resource, sys
from deepfake_ms.training.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def step():
    blocks = [libc.malloc(20_000_000) for _ in range(150)]
    for block in blocks:
        for place in range(0, 20_000_000, 4_000_000):
            ctypes.memset(block + place, 1, 1)
    for block in reversed(blocks):
        libc.free(block)
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode: str) -> int:
    """Page faults in ten steps. Each allocates 3 GB and touches 750 pages of it."""
    command = [sys.executable, "-c", PROGRAM, mode]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout)


def test_steps_do_not_get_their_memory_from_the_system_again():
    if page_faults("default") < 5_000:
        pytest.skip("malloc keeps freed memory here anyway")
    assert page_faults("keep") < 100
