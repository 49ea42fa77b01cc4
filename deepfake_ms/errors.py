"""The exception for errors that the user can fix, and the end of a program whose output nobody reads."""

import os
import sys
from typing import NoReturn

READER_ENDED = 141
"""Exit status of a command whose output is no longer read; shells give it to programs that SIGPIPE ends."""


def end_without_reader() -> NoReturn:
    """End the program after a `BrokenPipeError` of its output, without a message."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it at exit
    sys.exit(READER_ENDED)


def sentence_of(error: BaseException) -> str:
    """The message of a `UserError`, without the traceback that a DataLoader wraps around it in its processes."""
    return str(error).rpartition("deepfake_ms.errors.UserError: ")[2].strip()


class UserError(Exception):
    """An error in the input or configuration that the user can fix.

    The message is one clear sentence that names the file or key, the reason and the remedy. Entry points print it
    without a traceback and exit with status 2.
    """
