"""What one job of a sweep is, and the record that it leaves."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from deepfake_ms.files import write_json

RECORD_NAME = "job.json"
LOG_NAME = "log.txt"
READABLE = 180  # characters of a folder's name that come from the overrides; file systems allow 255


class Status(StrEnum):
    """How a job stands. Only `FINISHED` jobs are left out when a sweep is run again."""

    RUNNING = "running"  # also what a sweep leaves that was killed itself
    FINISHED = "finished"
    FAILED = "failed"
    KILLED = "killed"
    TIMEOUT = "timeout"
    STOPPED = "stopped"  # by Ctrl-C or SIGTERM on the sweep


@dataclass(frozen=True)
class Job:
    """One cell of a sweep.

    Attributes:
        program: name of the main and of its configuration, e.g. ``train train``.
        overrides: the cell's Hydra overrides, those that all cells share included.
        command: what to execute.
        folder: where its record and its log go.
    """

    program: str
    overrides: tuple[str, ...]
    command: tuple[str, ...]
    folder: Path


@dataclass(frozen=True)
class JobRecord:
    """What is known of a job, kept as ``job.json`` in its folder.

    Attributes:
        program, overrides: as in `Job`.
        status: see `Status`.
        attempt: how often the job was started, from 1.
        code: version of the code that ran it.
        started, ended: UTC, ISO 8601; `ended` is None while it runs.
        seconds: wall time of this attempt.
        exit_code: None while it runs and when a signal ended it.
        signal: name of that signal, e.g. ``SIGKILL``.
        log: name of the log beside the record; it holds all attempts.
    """

    program: str
    overrides: tuple[str, ...]
    status: Status
    attempt: int
    code: str
    started: str
    ended: str | None = None
    seconds: float | None = None
    exit_code: int | None = None
    signal: str | None = None
    log: str = LOG_NAME

    def write(self, folder: Path) -> None:
        """Put the record into the job's folder, whole or not at all."""
        write_json(folder / RECORD_NAME, asdict(self))


def read_record(job: Job) -> JobRecord | None:
    """The record that an earlier start of `job` left; None without one, or if it is damaged or of another job."""
    try:
        fields = json.loads((job.folder / RECORD_NAME).read_text())
        fields |= {"overrides": tuple(fields["overrides"]), "status": Status(fields["status"])}
        record = JobRecord(**fields)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    same = record.program == job.program and sorted(record.overrides) == sorted(job.overrides)
    return record if same else None


def folder_name(program: str, overrides: Sequence[str]) -> str:
    """A folder name that depends only on what the job is: not on its number, its neighbours or the overrides' order.

    Example: ``experiment=table2_base,seed=0-1f0c9a3e``.
    """
    ordered = sorted(overrides)
    digest = hashlib.sha256(json.dumps([program, *ordered]).encode()).hexdigest()[:8]
    readable = re.sub(r"[^\w.,=+-]+", "_", ",".join(ordered))[:READABLE].strip("._")
    return f"{readable or 'defaults'}-{digest}"
