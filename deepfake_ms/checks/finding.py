"""The result of one check."""

from dataclasses import dataclass

OK, WARNING, FAILED = "ok", "warning", "FAILED"


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    check: str
    """What was checked."""
    status: str
    """`OK`; `WARNING` if only some commands will fail or be slow; `FAILED` if something must be repaired first."""
    found: str
    """What was found."""
    remedy: str = ""
    """What to do about it; empty if `status` is `OK`."""


def graded(check: str, found: str, *problems: tuple[bool, str, str]) -> Finding:
    """A finding with the status and remedy of the first problem that exists.

    Args:
        check, found: as in `Finding`.
        problems: for each, whether it exists, the status that it causes, and the remedy; the worst first.
    """
    status, remedy = next(((status, remedy) for exists, status, remedy in problems if exists), (OK, ""))
    return Finding(check, status, found, remedy)
