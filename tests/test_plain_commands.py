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


@pytest.mark.parametrize(
    "program",
    [
        PROGRAM.format("for number in range(100_000): print(number, flush=True)"),
        PROGRAM.format("print('x' * 10**6)"),
        "from deepfake_ms import doctor; doctor.main()",
    ],
    ids=["lines", "a long line", "doctor"],
)
def test_a_reader_that_ends(program):
    """Like ``| head -1``."""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.read(1)
    process.stdout.close()
    errors = process.stderr.read()
    assert (process.wait(timeout=60), errors) == (141, b"")


def test_ctrl_c():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format("raise KeyboardInterrupt")], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr.strip()) == (130, "error: interrupted.")
