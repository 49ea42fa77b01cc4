"""Memory that a step has freed is there for the next one."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="glibc only")

PROGRAM = """
import resource, sys, torch
if sys.argv[1] == "keep":
    from deepfake_ms.training.memory import keep_freed_memory
    keep_freed_memory()
def step():
    blocks = [torch.ones(5_000_000) for _ in range(8)]  # 20 MB each
for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode: str) -> int:
    command = [sys.executable, "-c", PROGRAM, mode]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout)


def test_steps_do_not_get_their_memory_from_the_system_again():
    if page_faults("default") < 10_000:
        pytest.skip("malloc keeps freed memory here anyway")
    assert page_faults("keep") < 100
