"""A job of a sweep and its record on disk."""

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
READABLE_LENGTH = 180  # maximum characters of a folder name taken from the overrides; file systems allow 255


class Status(StrEnum):
    """Status of a job. A rerun of the sweep skips only `FINISHED` jobs."""

    RUNNING = "running"  # also after the sweep itself was killed
    FINISHED = "finished"
    FAILED = "failed"
    KILLED = "killed"
    TIMEOUT = "timeout"
    STOPPED = "stopped"  # the sweep got Ctrl-C or SIGTERM


@dataclass(frozen=True)
class Job:
    """One cell of a sweep.

    Attributes:
        program: name of the program and of its configuration, e.g. ``train train``.
        overrides: Hydra overrides of the cell, including those shared by all cells.
        arguments: command line of the program, without its name.
        folder: folder for the record and the log.
    """

    program: str
    overrides: tuple[str, ...]
    arguments: tuple[str, ...]
    folder: Path


@dataclass(frozen=True)
class JobRecord:
    """The record of a job, stored as ``job.json`` in its folder.

    Attributes:
        program, overrides: as in `Job`.
        status: see `Status`.
        attempt: number of this attempt, from 1.
        code: version of the code that ran the job.
        started, ended: UTC, ISO 8601; `ended` is None while the job runs.
        seconds: wall time of this attempt.
        exit_code: None while the job runs and if a signal ended it.
        signal: name of the signal that ended the job, e.g. ``SIGKILL``.
        log: file name of the log in the same folder; it covers all attempts.
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
        """Write the record into the job's folder atomically."""
        write_json(folder / RECORD_NAME, asdict(self))


def read_record(job: Job) -> JobRecord | None:
    """The record of an earlier attempt at `job`; None if it is missing, damaged or belongs to another job."""
    try:
        fields = json.loads((job.folder / RECORD_NAME).read_text())
        fields |= {"overrides": tuple(fields["overrides"]), "status": Status(fields["status"])}
        record = JobRecord(**fields)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    same = record.program == job.program and sorted(record.overrides) == sorted(job.overrides)
    return record if same else None


def folder_name(program: str, overrides: Sequence[str]) -> str:
    """A folder name for a job, independent of the job's number, the other jobs and the order of the overrides.

    Example: ``experiment=table2_base,seed=0-1f0c9a3e``.
    """
    ordered = sorted(overrides)
    digest = hashlib.sha256(json.dumps([program, *ordered]).encode()).hexdigest()[:8]
    readable = re.sub(r"[^\w.,=+-]+", "_", ",".join(ordered))[:READABLE_LENGTH].strip("._")
    return f"{readable or 'defaults'}-{digest}"
