"""The exception for errors that the user can fix."""


class UserError(Exception):
    """An error in the input or configuration that the user can fix.

    The message is one clear sentence that names the file or key, the reason and the remedy. Entry points print it
    without a traceback and exit with status 2.
    """
