"""Progress display of `prepare`: how many files or videos are done, and how fast."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress_bar(task: str, unit: str, console: Console, lines: bool = True) -> Iterator[Callable[..., None]]:
    """A live progress bar; without a terminal, a line after each quarter of the work.

    If the first call reports everything as done, a line says so.

    Args:
        task: description of the work, e.g. "finding faces".
        unit: the counted items, e.g. "videos".
        console: where to print.
        lines: without a terminal, whether to print lines or nothing.

    Yields:
        A function to call with (done, total). Keyword arguments are further counts, e.g. ``frames=57``, which are
        shown as rates per second.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        bar_task = bar.add_task(task, total=None)
        started = time.monotonic()
        quarter = -1

        def report(done: int, total: int, **amounts: int) -> None:
            nonlocal quarter
            if quarter < 0 and done == total:
                if lines:
                    console.print(f"{task}: all {total} {unit} are already done", highlight=False)
                quarter = 4
                return
            seconds = max(time.monotonic() - started, 1e-9)
            rates = "".join(f" · {amount / seconds:.1f} {name}/s" for name, amount in amounts.items() if amount)
            bar.update(bar_task, completed=done, total=total, description=task + rates)
            before, quarter = quarter, max(quarter, done * 4 // max(total, 1))
            if lines and not console.is_terminal and quarter > before:
                console.print(f"{task}: {done} of {total} {unit}{rates}", highlight=False)

        yield report
