"""The exception for errors that the user can fix."""


def sentence_of(error: BaseException) -> str:
    """The message of a `UserError`, without the traceback that a DataLoader wraps around it in its processes."""
    return str(error).rpartition("deepfake_ms.errors.UserError: ")[2].strip()


class UserError(Exception):
    """An error in the input or configuration that the user can fix.

    The message is one clear sentence that names the file or key, the reason and the remedy. Entry points print it
    without a traceback and exit with status 2.
    """
