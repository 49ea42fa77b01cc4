"""Commands with ordinary arguments: how they end when their output is no longer read, or after Ctrl-C."""

import subprocess
import sys

import pytest

PROGRAM = """
from deepfake_ms.cli import plain_entry_point

@plain_entry_point
def main():
    {}

main()
"""


@pytest.mark.parametrize("end", ["for number in range(100_000): print(number, flush=True)", "print('x' * 10**6)"])
def test_a_reader_that_ends(end):
    """Like ``| head -1``."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(end)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.read(1)
    process.stdout.close()
    errors = process.stderr.read()
    assert (process.wait(timeout=60), errors) == (141, b"")


def test_ctrl_c():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format("raise KeyboardInterrupt")], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr.strip()) == (130, "error: interrupted.")
