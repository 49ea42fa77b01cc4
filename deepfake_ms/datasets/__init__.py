"""The supported corpora: their folder layouts, and how file names and lists give labels and identities."""

import inspect
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from deepfake_ms.datasets import (
    celebdf,
    celebdf_pp,
    dataset_json,
    dfd,
    dfdc,
    dfdc_test,
    dfdcp,
    faceforensics,
    ffiw,
    folder,
    uadfv,
    wilddeepfake,
)
from deepfake_ms.datasets.source import Corpus, Source, drop_absent_source_videos, is_synthetic
from deepfake_ms.errors import UserError
from deepfake_ms.labels import CLASS_NAMES

__all__ = ["LAYOUTS", "Corpus", "Source", "find_corpus"]

LAYOUTS = {
    "celebdf": celebdf.find_corpus,
    "celebdf_pp": celebdf_pp.find_corpus,
    "faceforensics": faceforensics.find_corpus,
    "dfd": dfd.find_corpus,
    "dfdc": dfdc.find_corpus,
    "dfdc_test": dfdc_test.find_corpus,
    "dfdcp": dfdcp.find_corpus,
    "ffiw": ffiw.find_corpus,
    "uadfv": uadfv.find_corpus,
    "wilddeepfake": wilddeepfake.find_corpus,
    "dataset_json": dataset_json.find_corpus,
    "folder": folder.find_corpus,
}


def find_corpus(layout: str, root: Path, options: Mapping[str, Any] | None = None) -> Corpus:
    """Find all files of the corpus in `root`.

    Args:
        layout: a key of `LAYOUTS`, e.g. ``celebdf`` (Celeb-DF v1 and v2, and the drawn miniature, which has the same
            tree) or ``folder`` (the user's own files).
        root: the corpus's top folder; for ``folder`` also a CSV table.
        options: options of the layout, e.g. which methods and which compression.

    Raises:
        UserError: the layout or an option is unknown, or `root` is missing, empty or has another layout.
    """
    if layout not in LAYOUTS:
        raise UserError(f"Unknown corpus layout {layout!r}; choose one of {', '.join(LAYOUTS)}.")
    options = dict(options or {})
    known = list(inspect.signature(LAYOUTS[layout]).parameters)[1:]
    if unknown := options.keys() - known:
        raise UserError(
            f"The corpus layout {layout} has no option {', '.join(sorted(map(str, unknown)))}; it has "
            f"{', '.join(known) or 'none'}."
        )
    corpus = LAYOUTS[layout](Path(root), **options)
    sources = sorted(drop_absent_source_videos(corpus.sources), key=lambda source: source.name)
    return replace(
        corpus,
        sources=tuple(sources),
        synthetic=is_synthetic(corpus.root),
        options=options,
    )


def require_both_classes(corpus: Corpus) -> None:
    """Check that labelled files are not all real or all fake.

    Raises:
        UserError: they are; it names what was not read.
    """
    labels = {source.label for source in corpus.sources}.intersection(CLASS_NAMES)
    if len(labels) != 1:
        return
    missing = next(name for name in CLASS_NAMES if name not in labels)
    not_read = "; ".join(f"{reason}: {', '.join(paths[:5])}" for reason, paths in corpus.ignored.items())
    raise UserError(
        f"{corpus.root} has no {missing} files, but training and evaluation need both classes: put them where the "
        f"layout expects them.{f' Not read: {not_read}.' if not_read else ''}"
    )
