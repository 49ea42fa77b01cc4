"""A corpus: its files, and what it says about them."""

from dataclasses import dataclass
from pathlib import Path

from deepfake_ms.errors import UserError

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm"})
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})


@dataclass(frozen=True)
class Source:
    """One video file or still image of a corpus."""

    path: Path
    """Where it lies: the corpus root as the user gave it, then `name`."""
    name: str
    """Path relative to the corpus root, with forward slashes."""
    video_id: str
    """Unique in the corpus, e.g. ``Celeb-real/id0_0000``; the images of one video share it."""
    label: str
    """``real``, ``fake`` or ``unlabelled``."""
    method: str
    """How a fake was made, e.g. ``celebdf_swap``; ``real`` for a real one."""
    identities: tuple[str, ...]
    """Who is in it: one for a real video, target and donor for a fake; empty if unknown."""
    official_side: str | None
    """Where the corpus's own lists put it: ``train``, ``validation`` or ``test``; None if they do not name it."""
    media: str
    """``video`` or ``image``."""
    frame_index: int = 0
    """Images only: position in their video, from the file name."""


@dataclass(frozen=True)
class Corpus:
    """The files of a corpus."""

    root: Path
    """The top folder (or the table) as the user gave it."""
    sources: tuple[Source, ...]
    """All files, sorted by name."""
    missing: tuple[str, ...] = ()
    """What the corpus's own lists name but its folders lack, sorted."""
    synthetic: bool = False
    """Whether the corpus says of itself (in ``corpus.json``) that it was drawn."""


def require_folder(root: Path, expected: str) -> None:
    """Refuse a corpus root that is not a folder; `expected` is the tree to show.

    Raises:
        UserError: `root` does not exist or is a file.
    """
    if not root.is_dir():
        reason = "is a file, not a folder" if root.is_file() else "does not exist"
        raise UserError(f"The corpus root {root} {reason}; give the folder that holds:\n{expected}")
