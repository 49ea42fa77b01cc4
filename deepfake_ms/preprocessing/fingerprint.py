"""What names a prepared folder: a digest of the settings and of everything in the corpus."""

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from deepfake_ms.datasets import Source
from deepfake_ms.errors import UserError
from deepfake_ms.files import sha256_of, write_json
from deepfake_ms.preprocessing.settings import PreparationSettings

WORTH_NOTING = 1_000_000
"""Bytes. Smaller files, such as images, are read again faster than a note is written."""


def fingerprint_corpus(sources: Sequence[Source], settings: PreparationSettings, contents: Sequence[str]) -> str:
    """Twelve hexadecimal digits that stand for the settings and all that the sources are.

    Args:
        sources: of the corpus.
        settings: how they become faces.
        contents: the sha256 of each source's file, from `digest_contents`.
    """
    digest = hashlib.sha256(json.dumps(settings.as_dict(), sort_keys=True).encode())
    for source, content in sorted(zip(sources, contents, strict=True), key=lambda pair: pair[0].name):
        facts = (source.name, source.video_id, source.label, source.method, source.identities, source.official_subset)
        digest.update(json.dumps([*facts, source.media, source.frame_index, content]).encode())
    return digest.hexdigest()[:12]


def digest_contents(
    sources: Sequence[Source],
    known: Path,
    first: int = 0,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """The sha256 of every source's file, in the order of `sources`.

    A large file's digest is noted in the folder `known`, and the file is not read again while its size and time of
    change stay the same. Shards that start at different places therefore share the reading: each finds the notes of
    the others.

    Args:
        sources: of the corpus.
        known: where the notes lie, one small file per large source.
        first: the source to begin with.
        threads: files read at once.
        progress: called with (files done, all files).

    Raises:
        UserError: a file cannot be opened.
    """
    order = [*range(first, len(sources)), *range(first)]
    digests = [""] * len(sources)
    with ThreadPoolExecutor(max(1, threads)) as pool:
        found = pool.map(partial(_digest, known=known), [sources[position] for position in order])
        for done, (position, digest) in enumerate(zip(order, found, strict=True), start=1):
            digests[position] = digest
            if progress is not None:
                progress(done, len(sources))
    return digests


def _digest(source: Source, known: Path) -> str:
    try:
        stat = source.path.stat()
        if stat.st_size < WORTH_NOTING:
            return sha256_of(source.path)
        note = known / f"{hashlib.sha256(str(source.path.resolve()).encode()).hexdigest()}.json"
        state = {"size": stat.st_size, "changed_ns": stat.st_mtime_ns}
        if note.is_file() and state.items() <= (noted := json.loads(note.read_text())).items():
            return noted["sha256"]
        digest = sha256_of(source.path)
    except OSError as error:
        raise UserError(f"{source.path} cannot be opened ({error.strerror}): make it readable or remove it.") from error
    write_json(note, {"path": str(source.path), **state, "sha256": digest})
    return digest
