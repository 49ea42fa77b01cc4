"""What a person sees while a corpus is prepared: how many files or videos are done, and how fast."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def counting(what: str, unit: str, console: Console, lines: bool = True) -> Iterator[Callable[..., None]]:
    """A live bar for work that reports its progress; without a terminal, a line every quarter of the way.

    Work that reports all of it as done at the start is said to be done already.

    Args:
        what: is done, e.g. "finding faces".
        unit: of what is counted, e.g. "videos".
        console: where to write.
        lines: whether to write lines, or nothing, without a terminal.

    Yields:
        What to call with (done, total), and by keyword what else has come about so far, e.g. ``frames=57``, which is
        shown as a rate per second.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        started = time.monotonic()
        quarter = -1

        def report(done: int, total: int, **amounts: int) -> None:
            nonlocal quarter
            if quarter < 0 and done == total:
                if lines:
                    console.print(f"{what}: all {total} {unit} are done already", highlight=False)
                quarter = 4
                return
            seconds = max(time.monotonic() - started, 1e-9)
            rates = "".join(f" · {amount / seconds:.1f} {name}/s" for name, amount in amounts.items() if amount)
            bar.update(task, completed=done, total=total, description=what + rates)
            before, quarter = quarter, max(quarter, done * 4 // max(total, 1))
            if lines and not console.is_terminal and quarter > before:
                console.print(f"{what}: {done} of {total} {unit}{rates}", highlight=False)

        yield report
