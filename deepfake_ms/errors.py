"""The exception for what the user can mend."""


class UserError(Exception):
    """Something in the input or the configuration that the user can mend.

    The message is one clear sentence that names the file or key, the reason and the remedy. The entry points
    print it without a traceback and exit with status 2.
    """
