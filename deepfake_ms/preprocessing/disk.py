"""Disk errors as one-sentence user errors."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepfake_ms.errors import UserError

_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}  # Windows has no quotas


@contextmanager
def explain_disk_errors(folder: Path) -> Iterator[None]:
    """Turn errors of the operating system, e.g. a full disk, into a `UserError` that names the file.

    Args:
        folder: where the block writes; named if the error itself names no file.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno in _FULL:
            remedy = "free space there, or write to another disk; the same command then resumes where it stopped"
        else:
            remedy = "check that it is what the configuration needs, and that you may read and write it"
        raise UserError(f"{error.filename or folder}: {error.strerror or error}; {remedy}.") from error
