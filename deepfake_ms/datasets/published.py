"""Comparison of a corpus with the numbers and lists that its publisher gives."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepfake_ms.datasets.source import Source, is_synthetic


@dataclass(frozen=True)
class Published:
    """Numbers of videos, and the list of the official split, as published."""

    name: str
    """The corpus and its version, e.g. ``Celeb-DF v2``."""
    videos: Mapping[str, int]
    """Label, method or official subset → number of videos, e.g. ``{"real": 890, "fake": 5639, "test": 518}``."""
    according_to: str = "its publisher"
    """Where the numbers were read, if not in the publisher's own texts."""
    unit: str = "videos"
    list_digest: str | None = None
    """`digest` of the publisher's list; None if no copy of the list could be read."""

    def differences(self, root: Path, sources: Sequence[Source], listed: Iterable[str] = ()) -> list[str]:
        """One sentence for each number that differs, and one if the list does; none for a drawn corpus.

        Args:
            root: the corpus root.
            sources: all files of the corpus. The images of a video count as one.
            listed: the entries of the corpus's own list; empty if it has none.
        """
        if is_synthetic(root):
            return []
        videos = {(source.video_id, source.label, source.method, source.official_subset) for source in sources}
        found = Counter(key for _, *keys in videos for key in set(keys))
        notes = [
            f"{self.name} has {number:,} {key} {self.unit} according to {self.according_to}; {root} has {found[key]:,}."
            for key, number in self.videos.items()
            if found[key] != number
        ]
        listed = list(listed)
        if listed and self.list_digest and digest(listed) != self.list_digest:
            notes.append(
                f"The official split of {self.name} in {root} differs from its publisher's: copy the list again, "
                "because scores on another test set cannot be compared with published ones."
            )
        return notes


def digest(entries: Iterable[str]) -> str:
    """SHA-256 of a list's entries, which does not depend on their order and on line ends."""
    return hashlib.sha256("\n".join(sorted(entries)).encode()).hexdigest()
