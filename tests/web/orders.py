"""What workers of the tests load: they do what a file says."""

import os
import signal
import time
from pathlib import Path

from deepfake_ms.errors import UserError

FACTS = {"name": "a & b", "synthetic": True, "card": {"Crop": "tight"}, "abstains": ["there is no face"]}


def by_content():
    """Does what the file says; its process is in the facts and in the answers."""
    return {**FACTS, "process": os.getpid()}, _obey


def _obey(path: Path) -> str:
    order, _, argument = path.read_text().partition(" ")
    if order == "sleep":
        time.sleep(float(argument))
    elif order == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif order == "fail":
        raise ValueError(f"secret {path}")
    elif order == "refuse":
        raise UserError(argument)
    elif order == "long":
        return "x" * int(argument)
    elif order == "list":
        return " ".join(each.name for each in path.parent.iterdir())
    return f"{path.name} in {os.getpid()}"


def refusing(*_):
    """Cannot load."""
    raise UserError("no such run")


def dying():
    """Dies while it loads."""
    os.kill(os.getpid(), signal.SIGKILL)


def once(folder: Path):
    """Loads the first time only."""
    mark = folder / "loaded"
    if mark.exists():
        raise UserError(f"{mark} is there")
    mark.touch()
    return by_content()
