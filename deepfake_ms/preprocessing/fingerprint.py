"""The fingerprint in a prepared folder's name: a hash of the settings and of everything in the corpus."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from deepfake_ms.datasets import Source
from deepfake_ms.files import sha256_of, write_json
from deepfake_ms.preprocessing.settings import PreparationSettings

MIN_CACHED_SIZE = 1_000_000
"""Bytes. Hashing a smaller file, such as an image, is faster than writing a cache entry."""


def fingerprint_corpus(sources: Sequence[Source], settings: PreparationSettings, contents: Sequence[str]) -> str:
    """Twelve hexadecimal digits that identify the settings and the sources, their contents included.

    Args:
        sources: the files of the corpus, in any order.
        settings: preparation settings.
        contents: the SHA-256 of each source's file, from `hash_contents`.
    """
    digest = hashlib.sha256(json.dumps(settings.as_dict(), sort_keys=True).encode())
    for source, content in sorted(zip(sources, contents, strict=True), key=lambda pair: pair[0].name):
        facts = (
            source.name,
            source.video_id,
            source.label,
            source.method,
            source.identities,
            source.source_video,
            source.official_subset,
            source.media,
            source.frame_index,
            content,
        )
        digest.update(json.dumps(facts).encode())
    return digest.hexdigest()[:12]


def hash_contents(
    sources: Sequence[Source],
    cache: Path,
    first: int = 0,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """The SHA-256 of every source's file, in the order of `sources`.

    The hash of a large file is cached, and the file is not read again while its size and modification time stay the
    same. Shards that start at different sources thus share the work: each finds the cache entries of the others.

    A file that cannot be read gets the reason instead of a hash: it will be quarantined, and once it can be read, the
    corpus has another fingerprint.

    Args:
        sources: the files of the corpus.
        cache: folder of the cache entries, one small file per large source.
        first: index of the source to begin with.
        threads: number of files read at once.
        progress: called with (files done, all files).
    """
    order = [*range(first, len(sources)), *range(first)]
    hashes = [""] * len(sources)
    with ThreadPoolExecutor(max(1, threads)) as pool:
        found = pool.map(partial(_hash, cache=cache), [sources[position] for position in order])
        for done, (position, digest) in enumerate(zip(order, found, strict=True), start=1):
            hashes[position] = digest
            if progress is not None:
                progress(done, len(sources))
    return hashes


def _hash(source: Source, cache: Path) -> str:
    try:
        stat = source.path.stat()
        if stat.st_size < MIN_CACHED_SIZE:
            return sha256_of(source.path)
        entry = cache / f"{hashlib.sha256(os.fsencode(source.path.resolve())).hexdigest()}.json"
        state = {"size": stat.st_size, "changed_ns": stat.st_mtime_ns}
        if (digest := _read_entry(entry, state)) is not None:
            return digest
        digest = sha256_of(source.path)
    except OSError as error:
        return f"unreadable: {error.strerror}"
    write_json(entry, {"path": source.name, **state, "sha256": digest})
    return digest


def _read_entry(entry: Path, state: dict[str, int]) -> str | None:
    try:
        cached = json.loads(entry.read_text())
        return cached["sha256"] if state.items() <= cached.items() else None
    except (FileNotFoundError, ValueError, KeyError, AttributeError):
        return None
