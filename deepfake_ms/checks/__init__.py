"""Checks of an installation and of its machine, for ``deepfake-ms doctor``.

Every module imports what it checks inside its functions, so that a missing or broken package fails one check only.
"""
