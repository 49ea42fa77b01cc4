"""Consoles whose tables are readable in files and pipes."""

import os

from rich.console import Console

PIPED_WIDTH = 120
"""Rich takes 80, at which wide tables break within words."""


def wide_console(**arguments) -> Console:
    """A console; into a file or pipe, 120 characters wide unless COLUMNS says otherwise.

    Args:
        arguments: of `rich.console.Console`.
    """
    console = Console(**arguments)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPED_WIDTH
    return console
