"""Keyed randomness: every draw has its own seed and can be repeated independently of all others."""

import hashlib


def key(*parts: str | int) -> int:
    """A 63-bit seed for the draw identified by `parts`, e.g. ``key("augment", seed, stage, epoch, index)``.

    The same parts give the same seed in every process, on every machine and after every restart.
    """
    digest = hashlib.sha256("\x1f".join(f"{type(p).__name__}:{p}" for p in parts).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
