"""Tables in Markdown."""

import math
from collections.abc import Iterable, Mapping, Sequence


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; line breaks in a cell become ``<br>``, and ``|`` is escaped.

    Args:
        header: one title per column.
        rows: one cell per column each.

    Raises:
        ValueError: a row has more or fewer cells than the header.
    """
    lines = [header, ["---"] * len(header)]
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"{len(row)} cells in a table of {len(header)} columns: {row}")
        lines.append([str(cell).replace("|", r"\|").replace("\n", "<br>") for cell in row])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def estimate(line: Mapping[str, float], signed: bool = False) -> str:
    """``0.910 ± 0.020 [0.880, 0.935]``: `mean`, `sd`, and interval from `low` to `high`; NaN is left out."""
    sign = "+" if signed else ""
    if math.isnan(line["mean"]):
        return "–"
    spread = "" if math.isnan(line["sd"]) else f" ± {line['sd']:.3f}"
    interval = "" if math.isnan(line["low"]) else f" [{line['low']:{sign}.3f}, {line['high']:{sign}.3f}]"
    return f"{line['mean']:{sign}.3f}{spread}{interval}"
