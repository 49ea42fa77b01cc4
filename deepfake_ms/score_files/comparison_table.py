"""The result of a comparison as a table for people."""

from collections.abc import Sequence
from itertools import chain

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deepfake_ms.scoring.comparison import RESAMPLES
from deepfake_ms.scoring.metrics import TITLES

HEADINGS = {"p_bootstrap": ("p bootstrap", "Holm"), "p_delong": ("p DeLong", "Holm")}


def print_comparison(table: pd.DataFrame, notes: Sequence[str], console: Console) -> None:
    """Print a table per test set and, below, how the numbers were made.

    Args:
        table: as `deepfake_ms.scoring.comparison.compare` returns it.
        notes: sentences about what was left out.
        console: to print on.
    """
    level, metric = table["level"][0], table["metric"][0]
    tests = {name: headings for name, headings in HEADINGS.items() if table[name].notna().any()}
    for test_set, rows in table.groupby("test_set", sort=False):
        videos = f"{rows['real_videos'].iloc[0]} real and {rows['fake_videos'].iloc[0]} fake videos"
        shown = Table(title=escape(f"{test_set} · {videos}"), title_justify="left")
        shown.add_column("scores", overflow="fold")
        for heading in (f"{TITLES[metric]} per {level}", "difference", *chain.from_iterable(tests.values())):
            shown.add_column(heading, justify="right")
        for _, row in rows.iterrows():
            shown.add_row(
                escape(row["detector"]),
                _interval(row, "value", "low", "high", ".3f"),
                _interval(row, "difference", "difference_low", "difference_high", "+.3f"),
                *(_p_value(row[column]) for test in tests for column in (test, f"{test}_holm")),
            )
        console.print(shown)
    comparisons = int(table["difference"].notna().sum())
    lines = [
        f"Differences are from {table['detector'][0]}. In parentheses: 95 % intervals. Bootstrap: paired, {RESAMPLES} "
        f"resamples of the test videos. Holm: adjusted for {comparisons} comparison{'s'[: comparisons != 1]}."
    ]
    if level == "frame" and metric == "auroc":
        lines.append("DeLong's test needs independent scores and is given per video only.")
    console.print("\n".join([*lines, *notes]), highlight=False, markup=False)


def _p_value(value: float) -> str:
    if pd.isna(value):
        return ""
    return f"{value:.3f}" if value >= 0.001 else "<0.001"


def _interval(row: pd.Series, value: str, low: str, high: str, form: str) -> str:
    if pd.isna(row[value]):
        return ""
    bounds = "–" if pd.isna(row[low]) else f"{row[low]:{form}}, {row[high]:{form}}"
    return f"{row[value]:{form}} ({bounds})"
