"""The printed report of a sweep: a line when a job starts or ends, and a final table of all cells."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from deepfake_ms.launcher.jobs import Job, JobRecord, Status

LAST_LINES = 5
LAST_BYTES = 8192


def make_console(stderr: bool = False) -> Console:
    """A console that prints text unchanged: square brackets are not markup, long lines are not wrapped."""
    return Console(stderr=stderr, soft_wrap=True, markup=False, highlight=False)


class SweepReport:
    """Prints the progress and result of a sweep and keeps the last record of every job.

    Args:
        jobs: all cells in order.
        console: from `make_console`.
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
        retry = f", attempt {attempt}" if attempt > 1 else ""
        self._line(number, "started" + retry + (f", GPU {gpu}" if gpu is not None else ""))

    def skipped(self, number: int, record: JobRecord) -> None:
        """Report a job that an earlier sweep finished, with any version of the code."""
        self.records[number] = record
        self.any_skipped = True
        self._line(number, f"skipped, already finished by {record.code}")

    def running_elsewhere(self, number: int) -> None:
        """Report a job that is still running and cannot be started again."""
        self._line(number, "not started: it is still running, from another sweep or from one that was killed")

    def ended(self, number: int, record: JobRecord) -> None:
        self.records[number] = record
        self._line(number, f"{describe(record)} after {record.seconds:.0f} s")

    def unfinished(self) -> int:
        """Number of unfinished jobs."""
        return sum(record is None or record.status != Status.FINISHED for record in self.records)

    def summary(self) -> None:
        """Print the table of all cells, and the log path and last log lines of failed jobs."""
        table = Table("job", *self.columns, "status", title="Sweep", title_justify="left")
        table.add_column("seconds", justify="right")
        for number, (cell, record) in enumerate(zip(self.cells, self.records, strict=True), start=1):
            state = "not started" if record is None else describe(record)
            good = record is not None and record.status == Status.FINISHED
            seconds = "" if record is None or record.seconds is None else f"{record.seconds:.0f}"
            style, mark = (None, "") if good else ("bold red", "✗ ")
            table.add_row(str(number), *cell, f"{mark}{state}", seconds, style=style)
        self.console.print(table)
        if self.any_skipped:
            self.console.print(f"To rerun a finished job, delete its folder in {self.jobs[0].folder.parent}.")
        for number, (job, record) in enumerate(zip(self.jobs, self.records, strict=True)):
            if record is not None and record.status != Status.FINISHED:
                log = job.folder / record.log
                self._line(number, f"{describe(record)}, log {log}", style="bold red")
                for line in last_lines(log):
                    self.console.print(f"    {line}")

    def _line(self, number: int, text: str, style: str | None = None) -> None:
        cell = " ".join(f"{name}={value}" for name, value in zip(self.columns, self.cells[number], strict=True))
        title = f"{number + 1}/{len(self.jobs)} {cell}".rstrip()
        self.console.print(f"{title}: {text}", style=style)


def describe(record: JobRecord) -> str:
    """The status, with the exit code or signal of a job that did not finish."""
    if record.status == Status.FINISHED:
        return record.status
    cause = record.signal or f"exit code {record.exit_code}"
    return f"{record.status} ({cause})"


def last_lines(log: Path) -> list[str]:
    """The last non-blank lines of a possibly long log."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - LAST_BYTES))
        lines = stream.read().decode(errors="replace").splitlines()
    return [line for line in lines if line.strip()][-LAST_LINES:]
