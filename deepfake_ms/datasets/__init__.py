"""Where each corpus keeps its videos, labels and identities."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from deepfake_ms.datasets import celebdf, folder
from deepfake_ms.datasets.source import Corpus, Source
from deepfake_ms.errors import UserError

__all__ = ["LAYOUTS", "Corpus", "Source", "find_corpus"]

LAYOUTS = {"celebdf": celebdf.find_corpus, "folder": folder.find_corpus}


def find_corpus(layout: str, root: Path, options: Mapping[str, Any] | None = None) -> Corpus:
    """All files of the corpus in `root`.

    Args:
        layout: a key of `LAYOUTS`: ``celebdf`` (Celeb-DF v1 and v2; the drawn miniature has the same tree) or
            ``folder``.
        root: the corpus's top folder.
        options: the layout's own, e.g. which methods and which compression.

    Raises:
        UserError: the layout is unknown, or `root` is missing, empty or not laid out like this.
    """
    if layout not in LAYOUTS:
        raise UserError(f"Unknown corpus layout {layout!r}; choose one of {', '.join(LAYOUTS)}.")
    corpus = LAYOUTS[layout](Path(root), **(options or {}))
    ordered = tuple(sorted(corpus.sources, key=lambda source: source.name))
    return replace(corpus, sources=ordered, synthetic=_is_synthetic(corpus.root))


def _is_synthetic(root: Path) -> bool:
    path = root / "corpus.json"
    return path.is_file() and bool(json.loads(path.read_text(encoding="utf-8")).get("synthetic", False))
