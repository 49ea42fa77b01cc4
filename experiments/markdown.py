"""Tables in Markdown."""

from collections.abc import Iterable, Sequence


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
