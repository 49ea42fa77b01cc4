"""The runs of a sweep: which stages are finished, which are shared with other runs, and how long the rest may take."""

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from statistics import median

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from deepfake_ms.assembly import find_faces, run_config
from deepfake_ms.composition import CONFIG_FOLDER, complete_overrides, compose
from deepfake_ms.errors import UserError
from deepfake_ms.launcher.jobs import Job, Status, folder_name
from deepfake_ms.launcher.jobs import read_record as read_job
from deepfake_ms.provenance import code_digest
from deepfake_ms.training.curriculum import Curriculum
from deepfake_ms.training.run_folder import RECORD_NAME, config_hash, read_record
from deepfake_ms.training.shared_stages import find_stage, hash_stages
from deepfake_ms.training.stage_chain import read_chain

PROGRAM = "train train"


@dataclass(frozen=True)
class PlannedRun:
    """One run of the sweep.

    Attributes:
        experiment, seed: its place in the sweep.
        folder: of the run.
        stages: hashes of its stages (`hash_stages`).
        epochs: of each stage.
        finished: number of stages finished in its own folder.
        published: hashes of those stages that any run has finished and published.
        obstacle: why it cannot be trained; None if it can.
        seconds: duration of its finished job, if the launcher recorded one.
    """

    experiment: str
    seed: int
    folder: Path
    stages: tuple[str, ...]
    epochs: tuple[int, ...]
    finished: int
    published: frozenset[str]
    obstacle: str | None
    seconds: float | None

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Hashes of the stages that are still to be trained or reused."""
        return self.stages[self.finished :]


def plan_runs(experiments: Sequence[str], seeds: Sequence[int], overrides: Sequence[str]) -> list[PlannedRun]:
    """Compose the configuration of every run and inspect its files on disk.

    Args:
        experiments: names in ``conf/experiment``.
        seeds: of each experiment.
        overrides: for every run.

    Raises:
        HydraException: an override is impossible.
        UserError: a setting is unknown.
    """
    fingerprint = _fingerprint(compose(*overrides))
    return [
        _plan_run(experiment, seed, [*overrides, f"experiment={experiment}", f"seed={seed}"], fingerprint)
        for experiment in experiments
        for seed in seeds
    ]


def find_experiments(pattern: str, exclude: Sequence[str] = ()) -> list[str]:
    """The sorted names in ``conf/experiment`` that match a shell pattern and none of the patterns in `exclude`.

    Raises:
        UserError: there are none.
    """
    names = sorted(path.stem for path in (CONFIG_FOLDER / "experiment").glob("*.yaml"))
    found = [name for name in names if fnmatch(name, pattern) and not any(fnmatch(name, each) for each in exclude)]
    if found:
        return found
    raise UserError(f"No experiment is called {pattern}: choose from {', '.join(names)}.")


def stages_to_train(runs: Sequence[PlannedRun]) -> set[str]:
    """Hashes of the stages that have to be trained: equal stages once, and none that any run has finished."""
    finished = {name for run in runs for name in {*run.stages[: run.finished], *run.published}}
    return {name for run in runs for name in run.unfinished} - finished


def estimate_seconds(runs: Sequence[PlannedRun], n_jobs: int) -> float | None:
    """Wall time of the stages to train, from the seconds per epoch of finished jobs; None if there are none.

    Models differ in speed, so each experiment is estimated from its own finished jobs, or from the median of all
    experiments if it has none.
    """
    paces: dict[str, list[float]] = {}
    for run in runs:
        if run.seconds:
            paces.setdefault(run.experiment, []).append(run.seconds / sum(run.epochs))
    if not paces:
        return None
    usual = median(pace for each in paces.values() for pace in each)
    seconds_of = {
        name: epochs * median(paces.get(run.experiment, [usual]))
        for run in runs
        for name, epochs in zip(run.stages, run.epochs, strict=True)
    }
    return sum(seconds_of[name] for name in stages_to_train(runs)) / n_jobs


def print_plan(runs: Sequence[PlannedRun], n_jobs: int, console: Console) -> None:
    """Print the finished stages of every experiment and seed, the number of shared stages, and the estimated time."""
    seeds = sorted({run.seed for run in runs})
    folder = os.path.commonpath([run.folder.parents[1] for run in runs])
    table = Table("experiment", title=f"Finished stages · {folder}", title_justify="left")
    for seed in seeds:
        table.add_column(f"seed {seed}", justify="right")
    for experiment in dict.fromkeys(run.experiment for run in runs):
        row = (run for run in runs if run.experiment == experiment)
        done = (f"{run.finished}/{len(run.stages)}{' !' if run.obstacle else ''}" for run in row)
        table.add_row(experiment, *done)
    console.print(table)
    for obstacle, count in Counter(run.obstacle for run in runs if run.obstacle).items():
        console.print(f"! {_count(count, 'run')}: {obstacle}")
    stages, unfinished = sum(len(run.stages) for run in runs), sum(len(run.unfinished) for run in runs)
    to_train = len(stages_to_train(runs))
    console.print(
        f"{_count(len(runs), 'run')} with {_count(stages, 'stage')}: {unfinished} unfinished, of which {to_train} have "
        f"to be trained and {unfinished - to_train} are shared with other runs."
    )
    seconds = estimate_seconds(runs, n_jobs)
    if unfinished and seconds is None:
        console.print("The remaining time can be estimated once the first run has finished.")
    elif unfinished:
        minutes = _count(math.ceil(seconds / 60), "minute")
        console.print(f"About {minutes} with {_count(n_jobs, 'run')} at a time, at the speed of the finished runs.")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _plan_run(experiment: str, seed: int, overrides: list[str], fingerprint: str) -> PlannedRun:
    cfg = compose(*overrides)
    config = run_config(cfg, fingerprint)
    folder, runs_root = Path(cfg.run_folder), Path(cfg.runs_root)
    obstacle = _obstacle(folder, config)
    given = complete_overrides(overrides)  # as the launcher gets them
    record = read_job(Job(PROGRAM, tuple(given), (), runs_root / "multirun" / folder_name(PROGRAM, given)))
    stages = tuple(hash_stages(config, code_digest()))
    return PlannedRun(
        experiment=experiment,
        seed=seed,
        folder=folder,
        stages=stages,
        epochs=tuple(stage.epochs for stage in Curriculum.from_record(config).stages),
        finished=0 if obstacle else len(read_chain(folder)),
        published=frozenset(name for name in stages if find_stage(runs_root, name)),
        obstacle=obstacle,
        seconds=record.seconds if record and record.status == Status.FINISHED else None,
    )


def _obstacle(folder: Path, config: dict) -> str | None:
    if not (folder / RECORD_NAME).is_file():
        return None
    remedy = "delete these folders, or name the new runs with name=..."
    try:
        same = read_record(folder)["config_sha256"] == config_hash(config)
    except UserError:
        return f"their folders contain runs of an earlier version or damaged records; {remedy}"
    return None if same else f"their folders contain runs with another configuration; {remedy}"


def _fingerprint(cfg: DictConfig) -> str:
    """The fingerprint of the prepared faces, or a placeholder before they are prepared."""
    try:
        return find_faces(cfg).about["fingerprint"]
    except UserError:
        return "not prepared yet"
