"""Which F1 averaging, and which error counts, can explain a published accuracy and F1?

    python -m experiments.paper_audit
    python -m experiments.paper_audit --accuracy .9333 --f1 .8408 --real 1415 --fake 13543

Without numbers it audits experiments/published.csv, Tables 1 and 2 of the paper. Give numbers as printed, because their
digits determine the rounding. All numbers are published; nothing is measured here.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from deepfake_ms.cli import print_error
from deepfake_ms.errors import UserError
from deepfake_ms.files import write_atomically
from experiments.markdown import markdown_table
from experiments.paper_audit.feasible_counts import ClassCounts, Rounded, Solutions
from experiments.paper_audit.findings import PAPER_TEST_SET, findings
from experiments.paper_audit.row_audit import READINGS, PublishedRow, RowAudit, read_published

PUBLISHED = Path(__file__).resolve().parents[1] / "published.csv"
HEADERS = (
    "row",
    "published accuracy, F1",
    "read as",
    "fits F1 (pairs)",
    "real errors, %",
    "fake errors, %",
    "balanced accuracy",
)
WIDTHS = (9, 7, 9, 9, 9, 11)
"""Widths of the columns after the first, so that the table fits into 80 characters and cells break between values."""
NOTHING = ("none", "", "", "")
QUANTITIES = ("real_errors", "fake_errors", "real_error_rate", "fake_error_rate", "balanced_accuracy")
WHOLE_COLUMNS = [
    "solutions",
    "solutions_auc_admits",
    *(f"{name}_{end}" for name in QUANTITIES[:2] for end in ("low", "high")),
]
NO_RECORD = {
    "averaging": None,
    "solutions": 0,
    "solutions_auc_admits": None,
    **{f"{name}_{end}": None for name in QUANTITIES for end in ("low", "high")},
}


def spread(values: np.ndarray, style: str) -> str:
    """`low–high`, or one number if both print the same."""
    low, high = (format(value, style) for value in (values.min(), values.max()))
    return low if low == high else f"{low}–{high}"


def lines(audit: RowAudit) -> list[tuple[str, ...]]:
    """The cells of a row under `HEADERS`, one line per averaging and branch that fits."""
    values = audit.row.read(audit.reading)
    head = (audit.row.name, f"{audit.row.accuracy}, {audit.row.f1}", f"{values['accuracy']}, {values['f1']}")
    found = [
        (
            f"{name} ({len(branch)})",
            f"{spread(branch.real_errors, 'd')}\n{spread(100 * branch.real_error_rate, '.1f')}",
            f"{spread(branch.fake_errors, 'd')}\n{spread(100 * branch.fake_error_rate, '.1f')}",
            spread(branch.balanced_accuracy, ".4f").replace("0.", "."),
        )
        for name, branches in audit.fits.items()
        for branch in branches
    ]
    return [(*("" if number else cell for cell in head), *line) for number, line in enumerate(found or [NOTHING])]


def tables(audits: list[RowAudit]) -> dict[str, list[RowAudit]]:
    """Title → audits of its rows."""
    grouped: dict[str, list[RowAudit]] = {}
    for audit in audits:
        title = f"Table {audit.row.table}, published numbers" if audit.row.table else "Published numbers"
        grouped.setdefault(title, []).append(audit)
    return grouped


def as_frame(audits: list[RowAudit]) -> pd.DataFrame:
    """One line per row, reading, averaging and branch; if nothing fits, one line with 0 solutions.

    Rates and balanced accuracy are in 0..1; `solutions_auc_admits` is empty for rows without an AUC.
    """
    records = []
    for audit in audits:
        for reading in READINGS:
            values = audit.row.read(reading)
            row = {
                "table": audit.row.table,
                "row": audit.row.name,
                "published_accuracy": audit.row.accuracy,
                "published_f1": audit.row.f1,
                "published_auc": audit.row.auc,
                "digits": reading,
                "read_accuracy": str(values["accuracy"]),
                "read_f1": str(values["f1"]),
            }
            branches = [(name, branch) for name, found in audit.by_reading[reading].items() for branch in found]
            records += [row | _record(name, branch, values.get("auc")) for name, branch in branches] or [
                row | NO_RECORD
            ]
    return pd.DataFrame(records).astype(dict.fromkeys(WHOLE_COLUMNS, "Int64"))


def _record(averaging: str, branch: Solutions, auc: Rounded | None) -> dict[str, object]:
    record: dict[str, object] = {"averaging": averaging, "solutions": len(branch)}
    record["solutions_auc_admits"] = None if auc is None else int(branch.admitted_by(auc).sum())
    for quantity in QUANTITIES:
        values = getattr(branch, quantity)
        record |= {f"{quantity}_low": values.min(), f"{quantity}_high": values.max()}
    return record


def as_markdown(audits: list[RowAudit], sentences: list[str], counts: ClassCounts) -> str:
    """The tables and findings as a Markdown document."""
    text = [
        "# Paper audit",
        "",
        f"All numbers are published, none are measured; {counts.real:,} real and {counts.fake:,} fake test images.",
    ]
    for title, members in tables(audits).items():
        rows = [line for audit in members for line in lines(audit)]
        text += ["", f"## {title}", "", markdown_table(HEADERS, rows)]
    return "\n".join([*text, "", "## Findings", "", *(f"- {sentence}" for sentence in sentences), ""])


def audit_and_report(options: argparse.Namespace) -> None:
    """Audit the numbers of the command line or of the paper; print the result and, with --output, write it.

    Raises:
        UserError: numbers are missing or impossible.
    """
    given = {name: getattr(options, name) for name in ("accuracy", "f1", "real", "fake")}
    missing = [f"--{name}" for name, value in given.items() if value is None]
    if len(missing) == len(given) and options.auc is None:
        rows, counts = read_published(PUBLISHED), PAPER_TEST_SET
    elif missing:
        raise UserError(
            f"{missing[0]} is missing: to audit your own numbers, give --accuracy, --f1, --real and --fake."
        )
    else:
        rows = [PublishedRow("", "your numbers", options.accuracy, options.f1, options.auc)]
        counts = ClassCounts(options.real, options.fake)
    audits = [RowAudit(row, counts) for row in rows]
    sentences = findings(audits, counts)
    console = Console(highlight=False)
    for title, members in tables(audits).items():
        title += f"; test set of {counts.real:,} real and {counts.fake:,} fake images"
        table = Table(*HEADERS, title=title, box=box.SIMPLE_HEAD, padding=0, show_edge=False)
        table.columns[0].no_wrap = True
        for column, width in zip(table.columns[1:], WIDTHS, strict=True):
            column.width = width
        for audit in members:
            for line in lines(audit):
                table.add_row(*line)
        console.print(table)
    for sentence in sentences:
        console.print(f"- {sentence}", markup=False, soft_wrap=True)
    if options.output:
        write_atomically(options.output / "paper_audit.csv", as_frame(audits).to_csv(index=False))
        write_atomically(options.output / "paper_audit.md", as_markdown(audits, sentences, counts))
        console.print(f"Written: {options.output / 'paper_audit.csv'}, paper_audit.md", markup=False, soft_wrap=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.paper_audit",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--accuracy", help="as printed, for example .9333")
    parser.add_argument("--f1", help="as printed")
    parser.add_argument("--auc", help="as printed; optional")
    parser.add_argument("--real", type=int, help="real images in the test set")
    parser.add_argument("--fake", type=int, help="fake images in the test set")
    parser.add_argument("--output", type=Path, help="folder for paper_audit.csv and paper_audit.md")
    try:
        audit_and_report(parser.parse_args(arguments))
    except UserError as error:
        print_error(error)
        sys.exit(2)


if __name__ == "__main__":
    main()
