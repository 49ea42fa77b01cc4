"""The Hydra launcher plugin: a sweep's overrides become jobs, each the command that one would give by hand.

python -m deepfake_ms.train -m hydra/launcher=isolated 'experiment=glob(table2_*)' seed=0,1,2
"""

import argparse
import re
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from rich.console import Console

from deepfake_ms.errors import UserError
from deepfake_ms.launcher.jobs import Job, folder_name
from deepfake_ms.launcher.pool import PoolSettings, run_jobs
from deepfake_ms.launcher.report import SweepReport
from deepfake_ms.provenance import code_version

SWEEP_ONLY = re.compile(r"[+~]*hydra[./](launcher|sweeper|sweep|mode)\b")


class IsolatedLauncher(Launcher):
    """Runs every job of a sweep as a process group of its own; see `PoolSettings` for the options.

    A rerun of the same sweep leaves out what is recorded as finished, whatever code finished it. The program ends with
    status 1 if a job has not finished, but only after all have run; Hydra's sweepers would raise at the first. Jobs
    return no value, so a sweeper that optimizes one has no use for it.
    """

    __module__ = "hydra_plugins.deepfake_ms"  # see register

    def __init__(self, n_jobs: int, gpus: Sequence[int] | None, timeout_s: float | None, grace_s: float):
        self.options = {"n_jobs": n_jobs, "gpus": gpus, "timeout_s": timeout_s, "grace_s": grace_s}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.task_function, self.config = task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run one job per list of overrides.

        Raises:
            SystemExit: 1 after a job that did not finish, 2 for options that cannot be, 130 after Ctrl-C and 143 after
                SIGTERM; no job is left running.
        """
        console = Console(soft_wrap=True)
        previous = signal.signal(signal.SIGTERM, _terminate)
        try:
            gpus = self.options["gpus"]
            settings = PoolSettings(**{**self.options, "gpus": None if gpus is None else tuple(gpus)})
            jobs = [self._job(tuple(overrides)) for overrides in job_overrides]
            report = SweepReport(jobs, console)
            try:
                run_jobs(jobs, settings, code_version(), report)
            finally:
                report.summary()
        except UserError as error:
            Console(stderr=True).print(f"[bold red]error:[/] {error}", highlight=False, soft_wrap=True)
            raise SystemExit(2) from None
        except (KeyboardInterrupt, _Terminated) as stop:
            console.print("Stopped: the same command goes on with what is not finished.")
            number = signal.SIGTERM if isinstance(stop, _Terminated) else signal.SIGINT
            raise SystemExit(128 + number) from None
        finally:
            signal.signal(signal.SIGTERM, previous)
        if left := report.unfinished():
            console.print(f"{left} of {len(jobs)} jobs did not finish: the same command runs only these again.")
            raise SystemExit(1)
        return [
            JobReturn(overrides=job.overrides, working_dir=str(job.folder), status=JobStatus.COMPLETED) for job in jobs
        ]

    def _job(self, overrides: tuple[str, ...]) -> Job:
        about = self.config.hydra
        program = f"{about.job.name} {about.job.config_name}"
        shared = [override for override in about.overrides.hydra if not SWEEP_ONLY.match(override)]
        return Job(
            program=program,
            overrides=overrides,
            command=(*_main(self.task_function), *_config_flags(), *overrides, *shared, "hydra.mode=RUN"),
            folder=Path(about.sweep.dir) / folder_name(program, overrides),
        )


def _main(task: TaskFunction) -> list[str]:
    """How to start the program that `task` is the main of: as a module if it was started, or imported, as one."""
    module = sys.modules["__main__"] if task.__module__ == "__main__" else sys.modules[task.__module__]
    if module.__spec__ is None:
        return [sys.executable, str(Path(module.__file__).resolve())]
    return [sys.executable, "-m", module.__spec__.name]


def _config_flags() -> list[str]:
    """The flags of the sweep's command line that decide what a job reads."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    flags = {"--config-name": "-cn", "--config-path": "-cp", "--config-dir": "-cd"}
    for flag, short in flags.items():
        parser.add_argument(flag, short, dest=flag)
    given = vars(parser.parse_known_args(sys.argv[1:])[0])
    return [part for flag in flags if given[flag] is not None for part in (flag, given[flag])]


class _Terminated(BaseException):
    """SIGTERM, raised wherever the sweep is, as Python does with SIGINT."""


def _terminate(*_) -> None:
    raise _Terminated


@dataclass
class IsolatedOptions:
    """What ``hydra.launcher.*`` may hold; `PoolSettings` says what it means and what the defaults are."""

    _target_: str = "hydra_plugins.deepfake_ms.IsolatedLauncher"
    n_jobs: int = PoolSettings.n_jobs
    gpus: list[int] | None = PoolSettings.gpus
    timeout_s: float | None = PoolSettings.timeout_s
    grace_s: float = PoolSettings.grace_s


def register() -> None:
    """Make ``hydra/launcher=isolated`` known to Hydra; before a main composes its configuration.

    Hydra instantiates plugins of the ``hydra_plugins`` namespace only, and looks them up by name. So the class carries
    that name, and the namespace this module; `sys.modules` does not, and a launcher that sends Hydra's state to another
    process (submitit) sends the class itself, which a process that has not called this can read.
    """
    ConfigStore.instance().store(group="hydra/launcher", name="isolated", node=IsolatedOptions, provider="deepfake_ms")
    Plugins.instance().register(IsolatedLauncher)
    namespace = sys.modules.setdefault("hydra_plugins", ModuleType("hydra_plugins"))
    namespace.deepfake_ms = sys.modules[__name__]
