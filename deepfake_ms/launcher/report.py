"""What a person sees of a sweep: a line when a job starts, a line when it ends, and the table of all cells."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deepfake_ms.launcher.jobs import Job, JobRecord, Status

LAST_LINES = 5
LAST_BYTES = 8192


class SweepReport:
    """Keeps the last record of every job and prints.

    Args:
        jobs: all cells, in their order.
        console: where to print.
    """

    def __init__(self, jobs: Sequence[Job], console: Console):
        self.jobs, self.console = jobs, console
        self.records: list[JobRecord | None] = [None] * len(jobs)
        self.any_skipped = False
        cells = [dict(override.partition("=")[::2] for override in job.overrides) for job in jobs]
        names = list(dict.fromkeys(name for cell in cells for name in cell))
        varying = [name for name in names if len({cell.get(name) for cell in cells}) > 1]
        self.columns = varying or names
        self.cells = [[cell.get(name, "") for name in self.columns] for cell in cells]

    def started(self, number: int, attempt: int, gpu: str | None) -> None:
        again = f", attempt {attempt}" if attempt > 1 else ""
        self._line(number, "started" + again + (f", GPU {gpu}" if gpu is not None else ""))

    def skipped(self, number: int, record: JobRecord) -> None:
        """A job that an earlier sweep finished, with whatever code."""
        self.records[number] = record
        self.any_skipped = True
        self._line(number, f"finished before by {record.code}, skipped")

    def elsewhere(self, number: int) -> None:
        """A job that is not ours to start."""
        self._line(number, "left alone: it still runs, in another sweep or since one that was killed")

    def ended(self, number: int, record: JobRecord) -> None:
        self.records[number] = record
        self._line(number, f"{describe(record)} after {record.seconds:.0f} s")

    def unfinished(self) -> int:
        """How many jobs have not finished."""
        return sum(record is None or record.status != Status.FINISHED for record in self.records)

    def summary(self) -> None:
        """The table of all cells; below it, where and how those went wrong that did."""
        table = Table("job", *self.columns, "status", title="Sweep", title_justify="left")
        table.add_column("seconds", justify="right")
        for number, (cell, record) in enumerate(zip(self.cells, self.records, strict=True), start=1):
            state = "not started" if record is None else describe(record)
            good = record is not None and record.status == Status.FINISHED
            seconds = "" if record is None or record.seconds is None else f"{record.seconds:.0f}"
            style, mark = (None, "") if good else ("bold red", "✗ ")
            table.add_row(str(number), *map(escape, cell), f"{mark}{state}", seconds, style=style)
        self.console.print(table)
        if self.any_skipped:
            self.console.print(f"To run a finished job again, delete its folder in {self.jobs[0].folder.parent}.")
        for number, (job, record) in enumerate(zip(self.jobs, self.records, strict=True)):
            if record is not None and record.status != Status.FINISHED:
                log = job.folder / record.log
                self._line(number, f"{describe(record)}, log {log}", style="bold red")
                for line in last_lines(log):
                    self.console.print(f"    {line}", markup=False, highlight=False)

    def _line(self, number: int, what: str, style: str | None = None) -> None:
        cell = " ".join(f"{name}={value}" for name, value in zip(self.columns, self.cells[number], strict=True))
        title = f"{number + 1}/{len(self.jobs)} {cell}".rstrip()
        self.console.print(f"{title}: {what}", style=style, markup=False, highlight=False)


def describe(record: JobRecord) -> str:
    """The status, with the exit code or the signal of a job that did not finish."""
    if record.status == Status.FINISHED:
        return record.status
    how = record.signal or f"exit code {record.exit_code}"
    return f"{record.status} ({how})"


def last_lines(log: Path) -> list[str]:
    """The last lines that are not blank of a log that may be long."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - LAST_BYTES))
        lines = stream.read().decode(errors="replace").splitlines()
    return [line for line in lines if line.strip()][-LAST_LINES:]
