"""Runs the jobs of a sweep, some at once, and ends every one of them for good."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from deepfake_ms.errors import UserError
from deepfake_ms.launcher.jobs import LOG_NAME, Job, JobRecord, Status, read_record
from deepfake_ms.launcher.report import SweepReport

GUARD = Path(__file__).with_name("guard.py")
POLL_S = 0.1
GUARD_S = 10.0  # how much longer than the grace period a job's guard may take


@dataclass(frozen=True)
class PoolSettings:
    """How the jobs of a sweep share the machine.

    Attributes:
        n_jobs: how many run at once.
        gpus: indices of the GPUs to hand out, one per running job; they count within CUDA_VISIBLE_DEVICES where that
            is set. None leaves the GPUs to the jobs.
        timeout_s: wall seconds that a job may take; None sets no limit.
        grace_s: seconds from SIGTERM to SIGKILL, for the last checkpoint. A job of several ranks often uses them up in
            vain, since Lightning's handler communicates in the middle of a step; it then goes on from its last save.
    """

    n_jobs: int = 1
    gpus: tuple[int, ...] | None = None
    timeout_s: float | None = 86400.0
    grace_s: float = 30.0

    def __post_init__(self):
        if self.n_jobs < 1:
            raise UserError(f"hydra.launcher.n_jobs={self.n_jobs} runs nothing; give at least 1.")
        if self.timeout_s is not None and self.timeout_s <= 0:
            raise UserError(f"hydra.launcher.timeout_s={self.timeout_s} ends every job; give seconds or null.")
        if self.grace_s < 0:
            raise UserError(f"hydra.launcher.grace_s={self.grace_s} is negative; give seconds, or 0 for none.")
        if self.gpus is not None and (
            not self.gpus or len(set(self.gpus)) < len(self.gpus) or any(gpu < 0 for gpu in self.gpus)
        ):
            raise UserError(
                f"hydra.launcher.gpus={list(self.gpus)} must name each GPU once, as in [0,1]; null leaves them alone."
            )


@dataclass
class _Running:
    """A job under way; `gpu` is a name for CUDA_VISIBLE_DEVICES."""

    number: int
    job: Job
    record: JobRecord
    guard: subprocess.Popen
    gpu: str | None
    begun: float = field(default_factory=time.monotonic)
    ending: Status | None = None
    kill_at: float | None = None

    def ask_to_end(self, status: Status, grace_s: float) -> None:
        """Close the pipe: the guard ends the job within the grace period. `status` tells why."""
        if self.ending is None:
            self.ending = status
            self.kill_at = time.monotonic() + grace_s + GUARD_S
            self.guard.stdin.close()

    def watch(self, settings: PoolSettings) -> JobRecord | None:
        """End the job if its time is over. Its last record once it has ended, written and its group dead, else None."""
        now = time.monotonic()
        code = self.guard.poll()
        if code is None:
            if settings.timeout_s is not None and now - self.begun > settings.timeout_s:
                self.ask_to_end(Status.TIMEOUT, settings.grace_s)
            if self.kill_at is not None and now > self.kill_at:  # the guard cannot: somebody has stopped it
                os.killpg(self.guard.pid, signal.SIGKILL)
            return None
        with contextlib.suppress(ProcessLookupError, PermissionError):  # PermissionError: macOS, a group of zombies
            os.killpg(self.guard.pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            self.guard.stdin.close()
        status = Status.FINISHED if code == 0 else Status.KILLED if code < 0 else Status.FAILED
        record = replace(
            self.record,
            # a job that was asked to stop may still finish, or fail for reasons of its own: neither is what happened
            status=Status.FINISHED if code == 0 else self.ending or status,
            ended=_now(),
            seconds=round(now - self.begun, 1),
            exit_code=code if code >= 0 else None,
            signal=signal.Signals(-code).name if code < 0 else None,
        )
        record.write(self.job.folder)
        return record


def run_jobs(jobs: Sequence[Job], settings: PoolSettings, code: str, report: SweepReport) -> None:
    """Run what is not finished yet; a job that fails, in whatever way, leaves the others alone.

    Args:
        code: version of the code, for the records.
        report: is told what becomes of every job.

    Raises:
        UserError: a GPU is asked for that CUDA_VISIBLE_DEVICES does not show.
        BaseException: what interrupted the sweep, once all its jobs have ended.
    """
    free = deque(_names_of(settings.gpus) if settings.gpus is not None else [None] * settings.n_jobs)
    waiting: deque[tuple[int, Job, int]] = deque()
    for number, job in enumerate(jobs):
        before = read_record(job)
        if before and before.status == Status.FINISHED:
            report.skipped(number, before)
        else:
            waiting.append((number, job, before.attempt + 1 if before else 1))
    running: list[_Running] = []

    def collect() -> None:
        for active in tuple(running):
            if record := active.watch(settings):
                running.remove(active)
                free.append(active.gpu)
                report.ended(active.number, record)

    try:
        while waiting or running:
            while waiting and free and len(running) < settings.n_jobs:
                number, job, attempt = waiting.popleft()
                if active := _begin(number, job, attempt, free[0], settings, code):
                    report.started(number, attempt, free.popleft())
                    running.append(active)
                else:
                    report.elsewhere(number)
            time.sleep(POLL_S)
            collect()
    except BaseException:
        for active in running:
            active.ask_to_end(Status.STOPPED, settings.grace_s)
        while running:
            collect()
            time.sleep(POLL_S)
        raise


def _begin(number: int, job: Job, attempt: int, gpu: str | None, settings: PoolSettings, code: str) -> _Running | None:
    """Start a job; None if a process of it still runs, started by another sweep or by one that was killed just now.

    The log is locked, and every process that writes to it keeps the lock by holding it open.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    with (job.folder / LOG_NAME).open("ab") as log:
        if not _lock(log):
            return None
        record = JobRecord(job.program, job.overrides, Status.RUNNING, attempt, code, started=_now())
        record.write(job.folder)
        log.write(f"--- attempt {attempt}, {record.started}, {code}\n".encode())
        log.flush()
        watched = subprocess.Popen(
            [sys.executable, "-P", str(GUARD), str(os.getpid()), str(settings.grace_s), *job.command],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(gpu, settings),
            start_new_session=True,
        )
    return _Running(number, job, record, watched, gpu)


def _lock(stream: BinaryIO) -> bool:
    """Lock an open file without waiting; False if another holds it. True where the file system has no locks."""
    import fcntl  # POSIX, as this launcher; the package's other parts are not

    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _environment(gpu: str | None, settings: PoolSettings) -> dict[str, str]:
    """The sweep's environment; the log is written at once, so that a killed job's last words are in it."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = gpu
    elif settings.n_jobs > 1:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        environment.setdefault("OMP_NUM_THREADS", str(max(1, cores // settings.n_jobs)))
    return environment


def _names_of(gpus: Sequence[int]) -> list[str]:
    """What CUDA_VISIBLE_DEVICES calls these GPUs: the sweep itself may have been given only some."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [str(gpu) for gpu in gpus]
    names = [name.strip() for name in visible.split(",") if name.strip()]
    if max(gpus) >= len(names):
        raise UserError(
            f"hydra.launcher.gpus={list(gpus)} counts within CUDA_VISIBLE_DEVICES={visible}, which shows {len(names)}; "
            "give smaller indices or unset it."
        )
    return [names[gpu] for gpu in gpus]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
