"""Which detector a command uses, and on which device."""

from pathlib import Path

from deepfake_ms.errors import UserError

KINDS = ("run", "model")
PREPARED = "prepared"


def is_source(argument: str) -> bool:
    """Whether an argument of a command is ``run=...`` or ``model=...``."""
    return "=" in argument and argument.partition("=")[0] in KINDS


def is_prepared(argument: str) -> bool:
    """Whether an argument of a command is ``prepared=...``."""
    return argument.startswith(f"{PREPARED}=")


def source_folder(argument: str) -> Path:
    """The folder in ``run=FOLDER``, ``model=FOLDER`` or ``prepared=FOLDER``.

    Raises:
        UserError: there is no such folder.
    """
    folder = Path(argument.partition("=")[2]).expanduser()
    if not folder.is_dir():
        wanted = (
            "of the run's faces, as `deepfake-ms prepare`"
            if is_prepared(argument)
            else "of a run, as `deepfake-ms train`"
        )
        raise UserError(f"{argument}: there is no such folder; give the folder {wanted} prints it.")
    return folder


def usable_device(name: str) -> str:
    """The device, as torch names it; for ``auto``, a GPU if there is one.

    Raises:
        UserError: torch cannot use it here.
    """
    import torch  # takes seconds, and a command that only starts another process does without

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name} cannot be used here: choose cpu, or a device that torch has.") from error
    return name
