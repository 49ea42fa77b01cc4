"""The error counts that a rounded accuracy and a rounded F1 allow, for each averaging of F1.

If ``a`` of ``R`` real and ``b`` of ``F`` fake images are wrong, ``F1(real) = 2(R-a) / (2(R-a) + a + b)``, and likewise
for fake. Accuracy determines ``a + b`` up to rounding, and F1 then determines ``a``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from typing import TypeVar

import numpy as np

from deepfake_ms.errors import UserError

Number = TypeVar("Number", np.ndarray, Fraction)

AVERAGINGS = ("macro", "weighted", "real", "fake", "micro")
"""The averages of scikit-learn; `real` and `fake` are the F1 of that class only (``average="binary"``)."""
FLOAT_DOUBT = 1e-9
"""Closer than this to a rounding limit, exact fractions decide instead of floats."""


@dataclass(frozen=True)
class ClassCounts:
    """Images per class in the test set, at least 1 each.

    Raises:
        UserError: a class is empty.
    """

    real: int
    fake: int

    def __post_init__(self) -> None:
        for name, count in (("real", self.real), ("fake", self.fake)):
            if count < 1:
                raise UserError(f"The number of {name} images is {count}: both classes need at least 1.")

    @property
    def total(self) -> int:
        return self.real + self.fake


@dataclass(frozen=True)
class Rounded:
    """A value in 0..1, rounded to `digits` decimals. Both limits belong to it, as ties may be rounded up or down."""

    value: Decimal
    digits: int

    @property
    def low(self) -> Fraction:
        return Fraction(self.value) - Fraction(1, 2 * 10**self.digits)

    @property
    def high(self) -> Fraction:
        return Fraction(self.value) + Fraction(1, 2 * 10**self.digits)

    def __str__(self) -> str:
        return f"{self.value:.{self.digits}f}"


@dataclass(frozen=True)
class Solutions:
    """Pairs of error counts that fit one averaging.

    Attributes:
        real_errors: real images classified as fake, shape (n,).
        fake_errors: fake images classified as real, shape (n,).
        counts: images per class.
    """

    real_errors: np.ndarray
    fake_errors: np.ndarray
    counts: ClassCounts

    def __len__(self) -> int:
        return len(self.real_errors)

    def __contains__(self, pair: tuple[int, int]) -> bool:
        return bool(np.any((self.real_errors == pair[0]) & (self.fake_errors == pair[1])))

    @property
    def real_error_rate(self) -> np.ndarray:
        return self.real_errors / self.counts.real

    @property
    def fake_error_rate(self) -> np.ndarray:
        return self.fake_errors / self.counts.fake

    @property
    def balanced_accuracy(self) -> np.ndarray:
        return 1 - (self.real_error_rate + self.fake_error_rate) / 2

    def admitted_by(self, auc: Rounded) -> np.ndarray:
        """Whether a ROC curve with this area can pass through each pair, bool of shape (n,).

        The area under a monotone curve through one operating point is at least the product of the two recalls, and at
        most one minus the product of the two error rates.
        """
        lowest = (1 - self.real_error_rate) * (1 - self.fake_error_rate)
        highest = 1 - self.real_error_rate * self.fake_error_rate
        return (lowest <= float(auc.high) + FLOAT_DOUBT) & (highest >= float(auc.low) - FLOAT_DOUBT)


def averaged_f1(averaging: str, real_errors: Number, fake_errors: Number, counts: ClassCounts) -> Number:
    """F1 in 0..1 for the given error counts: floats for arrays, exact for fractions.

    Args:
        averaging: one of `AVERAGINGS`.
        real_errors: in 0..counts.real.
        fake_errors: in 0..counts.fake, same shape.
        counts: images per class.
    """
    errors = real_errors + fake_errors
    if averaging == "micro":  # equals the accuracy, as every image has one label
        return 1 - errors / counts.total
    real_hits, fake_hits = 2 * (counts.real - real_errors), 2 * (counts.fake - fake_errors)
    real, fake = real_hits / (real_hits + errors), fake_hits / (fake_hits + errors)
    if averaging == "macro":
        return (real + fake) / 2
    if averaging == "weighted":
        return (counts.real * real + counts.fake * fake) / counts.total
    return {"real": real, "fake": fake}[averaging]


def error_pairs(accuracy: Rounded, counts: ClassCounts) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For every total number of errors that the accuracy allows, all its divisions into (real, fake) errors."""
    fewest = max(0, ceil(counts.total * (1 - accuracy.high)))
    most = min(counts.total, floor(counts.total * (1 - accuracy.low)))
    for errors in range(fewest, most + 1):
        real_errors = np.arange(max(0, errors - counts.fake), min(counts.real, errors) + 1)
        yield real_errors, errors - real_errors


def feasible(averaging: str, accuracy: Rounded, f1: Rounded, counts: ClassCounts) -> list[Solutions]:
    """All error counts that print as this accuracy and this F1.

    For a fixed total number of errors, every averaged F1 is concave in the number of real errors (a sum of two concave
    terms), so the solutions form at most two branches: with fewer real errors than at the peak, and with at least as
    many.

    Returns:
        One `Solutions` per non-empty branch, fewer real errors first; empty if nothing fits.
    """
    branches: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    low, high = float(f1.low), float(f1.high)
    for real_errors, fake_errors in error_pairs(accuracy, counts):
        values = averaged_f1(averaging, real_errors, fake_errors, counts)
        fits = (values >= low) & (values <= high)
        for place in np.flatnonzero(np.minimum(abs(values - low), abs(values - high)) < FLOAT_DOUBT):
            pair = Fraction(int(real_errors[place])), Fraction(int(fake_errors[place]))
            fits[place] = f1.low <= averaged_f1(averaging, *pair, counts) <= f1.high
        pairs = np.stack([real_errors, fake_errors], axis=1)
        below = np.arange(len(values)) < values.argmax()
        branches[0].append(pairs[fits & below])
        branches[1].append(pairs[fits & ~below])
    found = [np.concatenate(branch) for branch in branches if branch]
    return [Solutions(branch[:, 0], branch[:, 1], counts) for branch in found if len(branch)]


def f1_ceiling(accuracy: Rounded) -> float:
    """An upper bound of F1 at this accuracy, for any class counts and averaging.

    A class has at most ``accuracy * n`` hits and there are ``(1 - accuracy) * n`` errors, so its F1 is at most
    ``2 accuracy / (1 + accuracy)``; an average over two classes cannot be higher.
    """
    highest = min(1.0, float(accuracy.high))
    return 2 * highest / (1 + highest)


def reachable_f1(averaging: str, accuracy: Rounded, counts: ClassCounts) -> tuple[float, float] | None:
    """Lowest and highest F1 that this accuracy allows; None if no number of errors prints as this accuracy."""
    values = [averaged_f1(averaging, *pairs, counts) for pairs in error_pairs(accuracy, counts)]
    return (float(min(v.min() for v in values)), float(max(v.max() for v in values))) if values else None
