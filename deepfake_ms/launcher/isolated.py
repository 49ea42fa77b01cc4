"""The Hydra launcher plugin: turns each combination of a sweep's overrides into a job with its own command line.

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
from rich.text import Text

from deepfake_ms.errors import UserError
from deepfake_ms.launcher.jobs import Job, folder_name
from deepfake_ms.launcher.pool import PoolSettings, run_jobs
from deepfake_ms.launcher.report import SweepReport, make_console
from deepfake_ms.provenance import code_version

SWEEP_ONLY = re.compile(r"[+~]*hydra[./](launcher|sweeper|sweep|mode)\b")


class IsolatedLauncher(Launcher):
    """Runs each job of a sweep in its own process group; `PoolSettings` documents the options.

    A rerun of the same sweep skips jobs that are recorded as finished, regardless of the code version. The program runs
    all jobs and then exits with status 1 if any did not finish; Hydra's sweepers would raise at the first failure. Jobs
    return no value, so this launcher cannot be used with sweepers that optimize a returned value.
    """

    __module__ = "hydra_plugins.deepfake_ms"  # see register

    def __init__(self, n_jobs: int, gpus: Sequence[int] | None, timeout_s: float | None, grace_s: float):
        self.options = {"n_jobs": n_jobs, "gpus": gpus, "timeout_s": timeout_s, "grace_s": grace_s}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.task_function, self.config = task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run one job per list of overrides.

        Raises:
            SystemExit: 1 if a job did not finish, 2 for invalid options, 130 after Ctrl-C and 143 after SIGTERM; all
                jobs have ended by then.
        """
        console = make_console()
        previous = signal.signal(signal.SIGTERM, _terminate)
        try:
            gpus = self.options["gpus"]
            settings = PoolSettings(**{**self.options, "gpus": None if gpus is None else tuple(gpus)})
            jobs = [self._job(tuple(overrides)) for overrides in job_overrides]
            report = SweepReport(jobs, console)
            try:
                run_jobs(jobs, _start(self.task_function), settings, code_version(), report)
            finally:
                report.summary()
        except UserError as error:
            make_console(stderr=True).print(Text.assemble(("error:", "bold red"), f" {error}"))
            raise SystemExit(2) from None
        except (KeyboardInterrupt, _Terminated) as stop:
            console.print("Stopped: run the same command again to continue with the unfinished jobs.")
            number = signal.SIGTERM if isinstance(stop, _Terminated) else signal.SIGINT
            raise SystemExit(128 + number) from None
        finally:
            signal.signal(signal.SIGTERM, previous)
        if unfinished := report.unfinished():
            console.print(f"{unfinished} of {len(jobs)} jobs did not finish: run the same command again to retry them.")
            raise SystemExit(1)
        return [
            JobReturn(overrides=job.overrides, working_dir=str(job.folder), status=JobStatus.COMPLETED) for job in jobs
        ]

    def _job(self, overrides: tuple[str, ...]) -> Job:
        hydra = self.config.hydra
        program = f"{hydra.job.name} {hydra.job.config_name}"
        shared = [override for override in hydra.overrides.hydra if not SWEEP_ONLY.match(override)]
        return Job(
            program=program,
            overrides=overrides,
            arguments=(*_config_flags(), *overrides, *shared, "hydra.mode=RUN"),
            folder=Path(hydra.sweep.dir) / folder_name(program, overrides),
        )


def _start(task: TaskFunction) -> list[str]:
    """Arguments of Python that start the program with the main function `task`: as a module if it was loaded as one."""
    module = sys.modules["__main__"] if task.__module__ == "__main__" else sys.modules[task.__module__]
    if module.__spec__ is None:
        return [str(Path(module.__file__).resolve())]
    return ["-m", module.__spec__.name]


def _config_flags() -> list[str]:
    """The flags of the sweep's command line that choose the configuration."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    flags = {"--config-name": "-cn", "--config-path": "-cp", "--config-dir": "-cd"}
    for flag, short in flags.items():
        parser.add_argument(flag, short, dest=flag)
    given = vars(parser.parse_known_args(sys.argv[1:])[0])
    return [part for flag in flags if given[flag] is not None for part in (flag, given[flag])]


class _Terminated(BaseException):
    """Raised on SIGTERM, like KeyboardInterrupt on SIGINT."""


def _terminate(*_) -> None:
    raise _Terminated


@dataclass
class IsolatedOptions:
    """Options of ``hydra.launcher.*``; `PoolSettings` documents them and their defaults."""

    _target_: str = "hydra_plugins.deepfake_ms.IsolatedLauncher"
    n_jobs: int = PoolSettings.n_jobs
    gpus: list[int] | None = PoolSettings.gpus
    timeout_s: float | None = PoolSettings.timeout_s
    grace_s: float = PoolSettings.grace_s


def register() -> None:
    """Register ``hydra/launcher=isolated`` with Hydra; call this before a main composes its configuration.

    Hydra only instantiates plugins in the ``hydra_plugins`` namespace, and looks them up by name. The class therefore
    claims to be in that namespace, and the namespace has this module as an attribute. It is not in `sys.modules`, so
    launchers that send Hydra's state to another process (submitit) pickle the class by value, which also works in
    processes that have not called this function.
    """
    ConfigStore.instance().store(group="hydra/launcher", name="isolated", node=IsolatedOptions, provider="deepfake_ms")
    Plugins.instance().register(IsolatedLauncher)
    namespace = sys.modules.setdefault("hydra_plugins", ModuleType("hydra_plugins"))
    namespace.deepfake_ms = sys.modules[__name__]
