"""Where each corpus keeps its videos, labels and identities."""

from pathlib import Path

from deepfake_ms.datasets import celebdf, folder
from deepfake_ms.datasets.source import Source
from deepfake_ms.errors import UserError

__all__ = ["LAYOUTS", "Source", "find_sources"]

LAYOUTS = {"celebdf": celebdf.find_sources, "folder": folder.find_sources}


def find_sources(layout: str, root: Path) -> list[Source]:
    """All files of the corpus in `root`, sorted by name.

    Args:
        layout: ``celebdf`` (Celeb-DF-v2; the drawn miniature has the same tree) or ``folder``.
        root: the corpus's top folder.

    Raises:
        UserError: the layout is unknown, or `root` is missing, empty or not laid out like this.
    """
    if layout not in LAYOUTS:
        raise UserError(f"Unknown corpus layout {layout!r}; choose one of {', '.join(LAYOUTS)}.")
    return sorted(LAYOUTS[layout](Path(root)), key=lambda source: source.name)
