"""The audit of one published row, with two readings of its digits."""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cached_property
from pathlib import Path

import pandas as pd

from deepfake_ms.errors import UserError
from experiments.paper_audit.feasible_counts import AVERAGINGS, ClassCounts, Rounded, Solutions, feasible

READINGS = ("common", "own")
"""How many digits of a printed value are significant, not counting trailing zeros.

common: accuracy and F1 both have as many digits as the longer of the two: `.9200 .5880` are three-digit values with a
zero appended, and `.978 .9394` four-digit values, one of which lost its zero. own: each value has its own number of
digits, so that `.9200` stands for .915 to .925; this is the widest reading. Both assume at least whole percents (two
digits). AUC always has its own number of digits.
"""
LEAST_DIGITS = 2


@dataclass(frozen=True)
class PublishedRow:
    """Accuracy, F1 and, optionally, AUC as printed: strings, because the digits determine the rounding.

    Raises:
        UserError: a value is not a number in 0..1.
    """

    table: str
    name: str
    accuracy: str
    f1: str
    auc: str | None = None

    def __post_init__(self) -> None:
        for key, text in self._printed.items():
            try:
                value = Decimal(text)
            except InvalidOperation:
                value = Decimal("nan")
            if not value.is_finite():
                raise UserError(f"{self}: {key} '{text}' is not a number: give it as printed, for example .9333.")
            if not 0 <= value <= 1:
                raise UserError(f"{self}: {key} {text} is outside 0..1: give a fraction, for example .9333.")

    def __str__(self) -> str:
        return f"Table {self.table}, {self.name}" if self.table else self.name

    @property
    def _printed(self) -> dict[str, str]:
        values = {"accuracy": self.accuracy, "f1": self.f1}
        return values if self.auc is None else {**values, "auc": self.auc}

    def read(self, reading: str) -> dict[str, Rounded]:
        """Name (accuracy, f1, and auc if given) → value with the digits of this reading, one of `READINGS`."""
        values = {key: Decimal(text).normalize() for key, text in self._printed.items()}
        digits = {key: max(LEAST_DIGITS, -int(value.as_tuple().exponent)) for key, value in values.items()}
        if reading == "common":
            digits["accuracy"] = digits["f1"] = max(digits["accuracy"], digits["f1"])
        return {key: Rounded(value, digits[key]) for key, value in values.items()}


@dataclass(frozen=True)
class RowAudit:
    """The error counts that a row's accuracy and F1 allow on a test set of `counts` images."""

    row: PublishedRow
    counts: ClassCounts

    @cached_property
    def by_reading(self) -> dict[str, dict[str, list[Solutions]]]:
        """Reading → averaging → branches, for the averagings that fit."""
        table = {}
        for reading in READINGS:
            values = self.row.read(reading)
            branches = {name: feasible(name, values["accuracy"], values["f1"], self.counts) for name in AVERAGINGS}
            table[reading] = {name: found for name, found in branches.items() if found}
        return table

    @property
    def reading(self) -> str:
        """The common reading, or own if nothing fits with common."""
        return "common" if self.by_reading["common"] else "own"

    @property
    def fits(self) -> dict[str, list[Solutions]]:
        """Averaging → branches under `reading`; empty if the pair is impossible."""
        return self.by_reading[self.reading]

    @property
    def only_own(self) -> list[str]:
        """Averagings that fit only with the own reading."""
        return [name for name in self.by_reading["own"] if name not in self.fits]

    def solutions(self, reading: str) -> list[Solutions]:
        """All branches of all averagings that fit."""
        return [branch for branches in self.by_reading[reading].values() for branch in branches]

    def balanced_accuracy(self, reading: str) -> tuple[float, float] | None:
        """Lowest and highest value over all solutions; None if there are none."""
        values = [branch.balanced_accuracy for branch in self.solutions(reading)]
        return (min(v.min() for v in values), max(v.max() for v in values)) if values else None


def read_published(path: Path) -> list[PublishedRow]:
    """The rows of a CSV file with the columns table, row, accuracy, f1 and auc; auc may be empty.

    Raises:
        UserError: the file or a column is missing, or a value is not a number in 0..1.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist: restore experiments/published.csv.")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    missing = [name for name in ("table", "row", "accuracy", "f1", "auc") if name not in table]
    if missing:
        raise UserError(f"{path} has no column {missing[0]}: add it.")
    return [PublishedRow(r["table"], r["row"], r["accuracy"], r["f1"], r["auc"] or None) for _, r in table.iterrows()]
