"""What a sweep is going to do: its cells, what of them is finished, what they share, and how long the rest may take.

    python experiments/sweep/plan.py --experiments 'table2_*' --seeds 0,1,2 data=miniature

Further arguments are the overrides of `python -m deepfake_ms.train`, the same for every cell. Nothing is trained.
"""

import argparse
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from statistics import median

import hydra
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from deepfake_ms.assembly import build_curriculum, deciding_config, locate_faces
from deepfake_ms.cli import CONFIG_FOLDER
from deepfake_ms.errors import UserError
from deepfake_ms.launcher.jobs import Job, Status, folder_name, read_record
from deepfake_ms.preprocessing.prepared import read_prepared
from deepfake_ms.provenance import code_digest
from deepfake_ms.training.run_folder import RECORD_NAME, config_hash, read_run
from deepfake_ms.training.shared_stages import find_stage, name_stages
from deepfake_ms.training.stage_chain import read_chain

PROGRAM = "train train"


@dataclass(frozen=True)
class Cell:
    """One run of the sweep."""

    experiment: str
    seed: int
    run: Path
    stages: tuple[str, ...]
    """What `name_stages` calls them."""
    epochs: tuple[int, ...]
    """Of each stage."""
    finished: int
    """Stages that the run's own folder has."""
    elsewhere: frozenset[str]
    """Of the stages, those that are published as finished, by whatever run."""
    obstacle: str | None
    """Why it cannot be trained; None if it can."""
    seconds: float | None
    """What its finished job took, if the launcher has recorded one."""

    @property
    def unfinished(self) -> tuple[str, ...]:
        """The stages still to be trained or taken over."""
        return self.stages[self.finished :]


def plan_cells(experiments: Sequence[str], seeds: Sequence[int], overrides: Sequence[str]) -> list[Cell]:
    """Compose every cell's configuration and look at what is on disk.

    Args:
        experiments: names in ``conf/experiment``.
        seeds: of each experiment.
        overrides: for every cell.
    """
    with hydra.initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        fingerprint = _fingerprint(hydra.compose("train", overrides=list(overrides)))
        cells = []
        for experiment in experiments:
            for seed in seeds:
                asked = [*overrides, f"experiment={experiment}", f"seed={seed}"]
                cfg = hydra.compose("train", overrides=asked)
                cells.append(_cell(cfg, experiment, seed, asked, fingerprint))
    return cells


def find_experiments(pattern: str, exclude: Sequence[str] = ()) -> list[str]:
    """The names in ``conf/experiment`` that match a shell pattern and none of those to `exclude`, sorted.

    Raises:
        UserError: there are none.
    """
    names = sorted(path.stem for path in (CONFIG_FOLDER / "experiment").glob("*.yaml"))
    left = [name for name in names if not any(fnmatch(name, each) for each in exclude)]
    if found := [name for name in left if fnmatch(name, pattern)]:
        return found
    raise UserError(f"No experiment is called {pattern}: choose among {', '.join(names)}.")


def count_stages(cells: Sequence[Cell]) -> tuple[int, int]:
    """How many stages the cells still lack, and how many of them have to be trained: equal ones once, known ones never.

    What another run has finished counts as known; where the others train it first, it is taken over from them.
    """
    known = _known_stages(cells)
    lacking = [name for cell in cells for name in cell.unfinished]
    return len(lacking), len(set(lacking) - known)


def estimate_seconds(cells: Sequence[Cell], n_jobs: int) -> float | None:
    """Wall time of what is left, from the seconds per epoch of the finished jobs; None before the first one is.

    An experiment's own pace counts for it, since models differ; one without a finished job takes the median of all.
    """
    paces: dict[str, list[float]] = {}
    for cell in cells:
        if cell.seconds:
            paces.setdefault(cell.experiment, []).append(cell.seconds / sum(cell.epochs))
    if not paces:
        return None
    usual = median(pace for each in paces.values() for pace in each)
    known = {name for cell in cells for name in cell.stages[: cell.finished]}
    seconds_of = {
        name: epochs * median(paces.get(cell.experiment, [usual]))
        for cell in cells
        for name, epochs in zip(cell.stages, cell.epochs, strict=True)
    }
    left = {name for cell in cells for name in cell.unfinished} - known
    return sum(seconds_of[name] for name in left) / n_jobs


def print_plan(cells: Sequence[Cell], n_jobs: int, console: Console) -> None:
    """Print rows by seeds with the number of finished stages, then what the sweep shares and how long it may take."""
    seeds = sorted({cell.seed for cell in cells})
    folder = os.path.commonpath([cell.run.parents[1] for cell in cells])
    table = Table("experiment", title=f"Stages finished · {folder}", title_justify="left")
    for seed in seeds:
        table.add_column(f"seed {seed}", justify="right")
    for experiment in dict.fromkeys(cell.experiment for cell in cells):
        row = (cell for cell in cells if cell.experiment == experiment)
        done = (f"{cell.finished}/{len(cell.stages)}{' !' if cell.obstacle else ''}" for cell in row)
        table.add_row(experiment, *done)
    console.print(table)
    for obstacle, count in Counter(cell.obstacle for cell in cells if cell.obstacle).items():
        console.print(f"! {count} runs: {obstacle}")
    lacking, to_train = count_stages(cells)
    all_stages = sum(len(cell.stages) for cell in cells)
    console.print(
        f"{len(cells)} runs of {all_stages} stages; {lacking} stages are left, of which {to_train} have to be trained: "
        f"{lacking - to_train} are shared with other runs."
    )
    seconds = estimate_seconds(cells, n_jobs)
    if lacking and seconds is None:
        console.print("How long that takes shows once the first run is finished.")
    elif lacking:
        minutes = math.ceil(seconds / 60)
        console.print(f"About {minutes} minutes with {n_jobs} at once, at the pace of the finished runs.")


def _known_stages(cells: Sequence[Cell]) -> set[str]:
    return {name for cell in cells for name in {*cell.stages[: cell.finished], *cell.elsewhere}}


def _cell(cfg: DictConfig, experiment: str, seed: int, overrides: list[str], fingerprint: str) -> Cell:
    config = deciding_config(cfg, fingerprint)
    curriculum = build_curriculum(cfg)
    run = Path(cfg.run_folder)
    obstacle = None
    if (run / RECORD_NAME).is_file() and read_run(run)["config_sha256"] != config_hash(config):
        obstacle = "their folders hold runs with another configuration; delete them, or give these a name of their own"
    job = Job(PROGRAM, tuple(overrides), (), Path(cfg.runs_root) / "multirun" / folder_name(PROGRAM, overrides))
    record = read_record(job)
    stages = tuple(name_stages(config, curriculum, code_digest()))
    return Cell(
        experiment=experiment,
        seed=seed,
        run=run,
        stages=stages,
        epochs=tuple(stage.epochs for stage in curriculum.stages),
        finished=0 if obstacle else len(read_chain(run)),
        elsewhere=frozenset(name for name in stages if find_stage(Path(cfg.runs_root), name)),
        obstacle=obstacle,
        seconds=record.seconds if record and record.status == Status.FINISHED else None,
    )


def _fingerprint(cfg: DictConfig) -> str:
    """Of the prepared faces; before there are any, a word that stands for what they will be."""
    try:
        return read_prepared(locate_faces(cfg))["fingerprint"]
    except UserError:
        return "not prepared yet"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", default="table2_*", help="shell pattern (default: %(default)s)")
    parser.add_argument("--exclude", default="", help="of these, separated by commas; shell patterns")
    parser.add_argument("--seeds", default="0,1,2", help="default: %(default)s")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once (default: %(default)s)")
    parser.add_argument("overrides", nargs="*", help="for every run, as for python -m deepfake_ms.train")
    options = parser.parse_args()
    try:
        seeds = [int(seed) for seed in options.seeds.split(",")]
        experiments = find_experiments(options.experiments, options.exclude.split(","))
        cells = plan_cells(experiments, seeds, options.overrides)
    except UserError as error:
        Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {error}", highlight=False)
        raise SystemExit(2) from None
    print_plan(cells, options.jobs, Console(soft_wrap=True))


if __name__ == "__main__":
    main()
