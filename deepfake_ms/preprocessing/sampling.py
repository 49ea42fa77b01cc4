"""Which frames of a video are sampled: by time or by number."""

from collections.abc import Callable
from fractions import Fraction
from math import inf

import numpy as np


def evenly_spaced(length: int, number: int) -> list[int]:
    """Positions of evenly spaced items, from the first to the last: ``floor(linspace(0, length - 1, number))``.

    These are the frames that DeepfakeBench takes. If there are no more than `number` items, each is taken once;
    ``number=1`` takes the first.

    Args:
        length: number of items, at least 1.
        number: how many to take, at least 1.
    """
    return np.unique(np.linspace(0, length - 1, number, endpoint=True, dtype=int)).tolist()


class Sampling:
    """Selects the frames of one video, in one pass over them.

    Args:
        time_base: duration of a tick of the timestamps in seconds.
        fps: take the first frame at or after each k/fps seconds; None if `frames` is given.
        frames: take so many evenly spaced frames, see `evenly_spaced`; None if `fps` is given.
        max_frames: take at most so many, from the start.
    """

    def __init__(
        self, time_base: Fraction, fps: float | None = None, frames: int | None = None, max_frames: int | None = None
    ) -> None:
        self._time_base = time_base
        self._samples_per_tick = None if fps is None else Fraction(fps).limit_denominator(10_000) * time_base
        self._frames = frames
        self._positions: frozenset[int] = frozenset()
        self._left = inf if max_frames is None else max_frames
        self._first: int | None = None
        self._next = 0

    def start(self, count_frames: Callable[[], int]) -> Callable[[int, int], bool]:
        """Prepare for the pass over the frames.

        Args:
            count_frames: the number of frames in the video; called only if the choice depends on it.

        Returns:
            A function that is called for all frames in presentation order and says whether to take the frame at a
            position with a timestamp.
        """
        if self._frames is not None:
            self._positions = frozenset(evenly_spaced(count_frames(), self._frames))
        return self._takes

    def _takes(self, index: int, pts: int) -> bool:
        if self._first is None:
            self._first = pts
        taken = self._left > 0 and (self._is_due(pts) if self._frames is None else index in self._positions)
        self._left -= taken
        return taken

    def _is_due(self, pts: int) -> bool:
        position = (pts - self._first) * self._samples_per_tick
        if position < self._next:
            return False
        self._next = position // 1 + 1
        return True

    def seconds(self, pts: int) -> float:
        """Time after the first frame."""
        return float((pts - self._first) * self._time_base)
