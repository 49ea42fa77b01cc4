"""Runs the jobs of a sweep in parallel, and makes sure that none of their processes outlives the sweep."""

import os
import signal
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import BinaryIO

from deepfake_ms.errors import UserError
from deepfake_ms.launcher.jobs import LOG_NAME, Job, JobRecord, Status, read_record
from deepfake_ms.launcher.process import JobProcess, JobServer
from deepfake_ms.launcher.report import SweepReport

POLL_S = 0.1
GUARD_S = 10.0  # time beyond the grace period that a guard may take to end its job


@dataclass(frozen=True)
class PoolSettings:
    """How the jobs of a sweep share the machine.

    Attributes:
        n_jobs: number of jobs that run at once.
        gpus: indices of the GPUs to assign, one per running job; indices into CUDA_VISIBLE_DEVICES if that is set.
            None lets every job see all GPUs.
        timeout_s: time limit of a job in seconds of wall time; None sets no limit.
        grace_s: seconds between SIGTERM and SIGKILL, for writing a last checkpoint. A job with several ranks often
            fails to write it, because Lightning's handler communicates in the middle of a step; such a job later
            resumes from its last regular checkpoint.
    """

    n_jobs: int = 1
    gpus: tuple[int, ...] | None = None
    timeout_s: float | None = 86400.0
    grace_s: float = 30.0

    def __post_init__(self):
        if self.n_jobs < 1:
            raise UserError(f"hydra.launcher.n_jobs={self.n_jobs} runs no jobs: choose at least 1.")
        if self.timeout_s is not None and self.timeout_s <= 0:
            raise UserError(f"hydra.launcher.timeout_s={self.timeout_s} is not positive: give seconds or null.")
        if self.grace_s < 0:
            raise UserError(f"hydra.launcher.grace_s={self.grace_s} is negative: give seconds, or 0 for none.")
        if self.gpus is not None and (
            not self.gpus or len(set(self.gpus)) < len(self.gpus) or any(gpu < 0 for gpu in self.gpus)
        ):
            raise UserError(
                f"hydra.launcher.gpus={list(self.gpus)} is invalid: list each GPU index once, as in [0,1], or use null."
            )


@dataclass
class _Running:
    """A running job; `gpu` is its value of CUDA_VISIBLE_DEVICES."""

    number: int
    job: Job
    record: JobRecord
    process: JobProcess
    gpu: str | None
    started_at: float = field(default_factory=time.monotonic)
    stop_reason: Status | None = None
    kill_at: float | None = None

    def request_stop(self, reason: Status, grace_s: float) -> None:
        """Let the guard end the job within the grace period."""
        if self.stop_reason is None:
            self.stop_reason = reason
            self.kill_at = time.monotonic() + grace_s + GUARD_S
            self.process.request_stop()

    def poll(self, settings: PoolSettings) -> JobRecord | None:
        """Stop the job if it exceeds its time limit. Once it has ended: kill its group, write and return its record."""
        now = time.monotonic()
        code = self.process.poll()
        if code is None:
            if settings.timeout_s is not None and now - self.started_at > settings.timeout_s:
                self.request_stop(Status.TIMEOUT, settings.grace_s)
            if self.kill_at is not None and now > self.kill_at:  # the guard cannot kill, e.g. because it is suspended
                self.process.kill()
            return None
        self.process.kill()
        status = Status.FINISHED if code == 0 else Status.KILLED if code < 0 else Status.FAILED
        record = replace(
            self.record,
            # A job that fails after a stop request counts as stopped, whatever its exit code.
            status=Status.FINISHED if code == 0 else self.stop_reason or status,
            ended=_now(),
            seconds=round(now - self.started_at, 1),
            exit_code=code if code >= 0 else None,
            signal=signal.Signals(-code).name if code < 0 else None,
        )
        record.write(self.job.folder)
        return record


def run_jobs(jobs: Sequence[Job], start: Sequence[str], settings: PoolSettings, code: str, report: SweepReport) -> None:
    """Run all unfinished jobs; a failing job does not affect the others.

    Args:
        jobs: all jobs of the sweep.
        start: arguments of Python that start the program, as for `JobServer`.
        settings: how the jobs share the machine.
        code: version of the code, for the records.
        report: prints the start and end of every job.

    Raises:
        UserError: a requested GPU is not in CUDA_VISIBLE_DEVICES.
        BaseException: the exception that interrupted the sweep, re-raised once all its jobs have ended.
    """
    free = deque(_visible_names(settings.gpus) if settings.gpus is not None else [None] * settings.n_jobs)
    waiting: deque[tuple[int, Job, int]] = deque()
    for number, job in enumerate(jobs):
        previous = read_record(job)
        if previous and previous.status == Status.FINISHED:
            report.skipped(number, previous)
        else:
            waiting.append((number, job, previous.attempt + 1 if previous else 1))
    running: list[_Running] = []
    server = JobServer(start, _environment(settings))

    def collect() -> None:
        for active in tuple(running):
            if record := active.poll(settings):
                running.remove(active)
                free.append(active.gpu)
                report.ended(active.number, record)

    try:
        while waiting or running:
            while waiting and free and len(running) < settings.n_jobs:
                number, job, attempt = waiting.popleft()
                if active := _start(number, job, attempt, free[0], server, settings.grace_s, code):
                    report.started(number, attempt, free.popleft())
                    running.append(active)
                else:
                    report.running_elsewhere(number)
            time.sleep(POLL_S)
            collect()
    except BaseException:
        for active in running:
            active.request_stop(Status.STOPPED, settings.grace_s)
        while running:
            collect()
            time.sleep(POLL_S)
        raise
    finally:
        server.close()


def _start(
    number: int, job: Job, attempt: int, gpu: str | None, server: JobServer, grace_s: float, code: str
) -> _Running | None:
    """Start a job; None if it is still running, started by another sweep or by one that has just been killed.

    A running job holds a lock on its log: every process that inherits the open log keeps the lock.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    with (job.folder / LOG_NAME).open("ab") as log:
        if not _lock(log):
            return None
        record = JobRecord(job.program, job.overrides, Status.RUNNING, attempt, code, started=_now())
        record.write(job.folder)
        log.write(f"--- attempt {attempt}, {record.started}, {code}\n".encode())
        log.flush()
        own = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
        process = server.start_job(job.arguments, own, grace_s, log)
    return _Running(number, job, record, process, gpu)


def _lock(stream: BinaryIO) -> bool:
    """Try to lock an open file; False if another process holds the lock. True if the file system has no locks."""
    import fcntl  # POSIX only, like this launcher but unlike the rest of the package

    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _environment(settings: PoolSettings) -> dict[str, str]:
    """Environment variables of all jobs; unbuffered output keeps the last lines of a killed job in its log."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if settings.gpus is None and settings.n_jobs > 1:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        environment.setdefault("OMP_NUM_THREADS", str(max(1, cores // settings.n_jobs)))
    return environment


def _visible_names(gpus: Sequence[int]) -> list[str]:
    """The names of these GPUs in CUDA_VISIBLE_DEVICES, as the sweep itself may be restricted to some GPUs."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [str(gpu) for gpu in gpus]
    names = [name.strip() for name in visible.split(",") if name.strip()]
    if max(gpus) >= len(names):
        raise UserError(
            f"hydra.launcher.gpus={list(gpus)} are indices into CUDA_VISIBLE_DEVICES={visible}, which lists "
            f"{len(names)}: choose smaller indices or unset CUDA_VISIBLE_DEVICES."
        )
    return [names[gpu] for gpu in gpus]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
