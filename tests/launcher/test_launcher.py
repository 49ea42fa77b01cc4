"""hydra/launcher=isolated: sweeps over two-process jobs that crash, hang, are killed or lose a rank."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deepfake_ms.errors import UserError
from deepfake_ms.launcher.jobs import Job, JobRecord, Status, folder_name, read_record
from deepfake_ms.launcher.pool import PoolSettings
from deepfake_ms.launcher.report import SweepReport, make_console

pytestmark = pytest.mark.fault("Sweeps", "jobs that crash, hang or are killed, and sweeps that are stopped or killed")

TINY = Path(__file__).parents[1] / "tiny_job.py"
MAX_WAIT_S = 60


class Sweep:
    """Sweeps over the tiny job in their own folder."""

    def __init__(self, folder: Path):
        self.folder, self.told = folder, folder / "told"
        self.told.mkdir()

    def start(self, *arguments: str, launcher: str = "isolated", **environment: str) -> subprocess.Popen:
        command = [sys.executable, TINY, "-m", f"hydra/launcher={launcher}", "hydra.sweep.dir=sweep", "told=told"]
        kept = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "COLUMNS")}
        return subprocess.Popen(
            [*command, "hydra.run.dir=.", "hydra.output_subdir=null", *arguments],
            cwd=self.folder,
            env={**kept, "COLUMNS": "200", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, **options: str) -> tuple[int, str]:
        """Exit status and output."""
        process = self.start(*arguments, **options)
        printed, _ = process.communicate(timeout=4 * MAX_WAIT_S)
        return process.returncode, printed

    def records(self) -> dict[str, dict]:
        """Records by job name, e.g. ``crash_0``."""
        found = {}
        for path in self.folder.glob("sweep/*/job.json"):
            record = json.loads(path.read_text())
            values = dict(override.split("=") for override in record["overrides"])
            found[f"{values['ends']}_{values.get('seed', 0)}"] = record
        return found

    def statuses(self) -> dict[str, str]:
        return {name: record["status"] for name, record in self.records().items()}

    def reports(self, pattern: str) -> dict[str, dict]:
        return {path.name: json.loads(path.read_text()) for path in self.told.glob(pattern)}

    def alive(self) -> list[str]:
        """The job processes that are alive."""
        return [name for name, told in self.reports("[!.]*").items() if told["pid"] and is_alive(told["pid"])]


def is_alive(pid: int) -> bool:
    """Whether a process is running; zombies are not."""
    if Path("/proc/self/stat").exists():
        stat = Path(f"/proc/{pid}/stat")
        try:
            state = stat.read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return False
    else:
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + MAX_WAIT_S
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.1)


@pytest.fixture
def sweep(tmp_path) -> Sweep:
    return Sweep(tmp_path)


def test_failures_are_isolated(sweep):
    options = ("hydra.launcher.n_jobs=3", "hydra.launcher.timeout_s=8", "hydra.launcher.grace_s=1")
    status, printed = sweep.run("ends=crash,die,hang,deaf,leave,well", *options)
    assert status == 1
    assert sweep.statuses() == {
        "crash_0": "failed",
        "die_0": "killed",
        "hang_0": "timeout",
        "deaf_0": "timeout",
        "leave_0": "finished",
        "well_0": "finished",
    }
    records = sweep.records()
    assert (records["crash_0"]["exit_code"], records["crash_0"]["signal"]) == (1, None)
    assert (records["die_0"]["exit_code"], records["die_0"]["signal"]) == (None, "SIGKILL")
    assert (records["hang_0"]["exit_code"], records["hang_0"]["signal"]) == (143, None)
    assert (records["deaf_0"]["exit_code"], records["deaf_0"]["signal"]) == (None, "SIGKILL")
    assert list(sweep.reports("*_saved")) == ["hang_0_saved"]
    assert len(sweep.reports("*_second")) == 6
    wait_until(lambda: not sweep.alive())

    lines = printed.splitlines()
    assert any(line.startswith("6/6 ends=well: started") for line in lines)
    assert any(line.startswith("6/6 ends=well: finished after ") for line in lines)
    for cell in ("crash │ ✗ failed (exit code 1)", "die   │ ✗ killed (SIGKILL)", "deaf  │ ✗ timeout (SIGKILL)"):
        assert cell in printed
    assert "hang  │ ✗ timeout (exit code 143)" in printed
    assert "well  │ finished " in printed
    assert "    RuntimeError: the tiny job crashes" in lines
    assert lines[-1] == "4 of 6 jobs did not finish: run the same command again to retry them."
    assert "job.json" not in printed
    assert not any(line.startswith("Traceback") for line in lines)


def test_rerun_repeats_only_unfinished_jobs(sweep):
    assert sweep.run("seed=0", "ends=well,crash", "hydra.launcher.n_jobs=2")[0] == 1
    before = sweep.reports("*_first")
    status, printed = sweep.run("ends=well,crash", "seed=0")  # same jobs in another order
    assert status == 1
    assert printed.count("skipped, already finished by deepfake_ms ") == 1
    assert printed.count("To rerun a finished job, delete its folder in ") == 1
    assert "ends=crash: started, attempt 2" in printed
    after = sweep.reports("*_first")
    assert {name for name in before if before[name] != after[name]} == {"crash_0_first"}
    assert {name: record["attempt"] for name, record in sweep.records().items()} == {"well_0": 1, "crash_0": 2}
    assert sweep.run("ends=well", "seed=0")[0] == 0


@pytest.mark.parametrize(
    ("number", "status", "recorded"),
    [
        (signal.SIGINT, 130, "stopped"),
        (signal.SIGTERM, 143, "stopped"),
        (signal.SIGKILL, -signal.SIGKILL, "running"),
    ],
)
def test_no_job_outlives_its_sweep(sweep, number, status, recorded):
    process = sweep.start("ends=hang,deaf,well", "hydra.launcher.n_jobs=2", "hydra.launcher.grace_s=1")
    wait_until(lambda: len(sweep.reports("*_first")) == 2)
    process.send_signal(number)
    printed, _ = process.communicate(timeout=MAX_WAIT_S)
    assert process.returncode == status
    wait_until(lambda: not sweep.alive())
    assert sweep.statuses() == {"hang_0": recorded, "deaf_0": recorded}
    assert list(sweep.reports("*_saved")) == ["hang_0_saved"]
    if number != signal.SIGKILL:
        assert "Stopped: run the same command again" in printed
        assert "not started" in printed
        assert "Traceback" not in printed.split("log sweep/ends")[0]


def test_running_job_is_not_started_again(sweep):
    first = sweep.start("ends=hang,well", "hydra.launcher.grace_s=1")
    wait_until(lambda: len(sweep.reports("hang_0_first")) == 1)
    status, printed = sweep.run("ends=hang,well")
    assert status == 1
    assert "not started: it is still running" in printed
    assert sweep.statuses() == {"hang_0": "running", "well_0": "finished"}
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=MAX_WAIT_S)
    assert sweep.statuses() == {"hang_0": "stopped", "well_0": "finished"}


def test_each_gpu_runs_one_job_at_a_time(sweep):
    options = ("hydra.launcher.n_jobs=3", "hydra.launcher.gpus=[0,2]", "seconds=1")
    status, printed = sweep.run("ends=well", "seed=0,1,2", *options, CUDA_VISIBLE_DEVICES="4,5,7")
    assert status == 0, printed
    by_gpu: dict[str, list] = {}
    for seed in range(3):
        first, done = (sweep.reports(f"well_{seed}_{when}")[f"well_{seed}_{when}"] for when in ("first", "done"))
        by_gpu.setdefault(first["CUDA_VISIBLE_DEVICES"], []).append((first["begun"], done["begun"]))
    assert by_gpu.keys() == {"4", "7"}
    for spans in by_gpu.values():
        spans.sort()
        assert all(before[1] < after[0] for before, after in itertools.pairwise(spans))
    (one, *_), (other, *_) = by_gpu["4"], by_gpu["7"]
    assert max(one[0], other[0]) < min(one[1], other[1])  # both GPUs are used at the same time

    status, printed = sweep.run("ends=well", "hydra.launcher.gpus=[3]", CUDA_VISIBLE_DEVICES="[a],[b]")
    assert status == 2
    assert "gpus=[3] are indices into CUDA_VISIBLE_DEVICES=[a],[b], which lists 2" in printed


def test_jobs_share_the_cores_and_get_only_their_own_arguments(sweep):
    assert sweep.run("ends=well", "seed=0,1", "hydra.launcher.n_jobs=2", "hydra/job_logging=none")[0] == 0
    reports = sweep.reports("well_*_first")
    for seed in (0, 1):
        told = reports[f"well_{seed}_first"]
        assert int(told["OMP_NUM_THREADS"]) == max(1, len(os.sched_getaffinity(0)) // 2)
        assert told["CUDA_VISIBLE_DEVICES"] == os.environ.get("CUDA_VISIBLE_DEVICES")
        assert told["argv"] == [
            "told=told",
            "ends=well",
            f"seed={seed}",
            "hydra.run.dir=.",
            "hydra.output_subdir=null",
            "hydra/job_logging=none",
            "hydra.mode=RUN",
        ]


def test_hydras_own_launcher_still_works(sweep):
    status, printed = sweep.run("ends=well", "seed=0,1", launcher="basic")
    assert status == 0, printed
    assert sweep.reports("*_done").keys() == {"well_0_done", "well_1_done"}
    assert sweep.records() == {}


def test_lost_rank_fails_only_its_job(sweep):
    assert sweep.run("ends=ddp_rank_1,well", "hydra.launcher.n_jobs=2", OMP_NUM_THREADS="1")[0] == 1
    statuses = sweep.statuses()
    assert statuses.pop("ddp_rank_1_0") in ("failed", "killed")  # depends on whether rank 0 or Lightning notices first
    assert statuses == {"well_0": "finished"}
    wait_until(lambda: not sweep.alive())
    ranks = sweep.reports("ddp_rank_1_0_rank_*")
    assert len(ranks) == 2
    for told in ranks.values():
        assert told["argv"][:3] == ["told=told", "ends=ddp_rank_1", "hydra.run.dir=."]  # not the sweep's


@pytest.mark.slow
def test_suspended_job_is_killed(sweep):
    process = sweep.start("ends=hang,well", "hydra.launcher.timeout_s=6", "hydra.launcher.grace_s=0")
    wait_until(lambda: len(sweep.reports("hang_0_first")) == 1)
    os.killpg(os.getpgid(sweep.reports("hang_0_first")["hang_0_first"]["pid"]), signal.SIGSTOP)  # includes the guard
    process.communicate(timeout=MAX_WAIT_S)
    assert sweep.statuses() == {"hang_0": "timeout", "well_0": "finished"}
    assert sweep.alive() == []


@pytest.mark.slow
def test_lost_or_hanging_ranks_fail_only_their_jobs(sweep):
    options = ("hydra.launcher.timeout_s=40", "hydra.launcher.grace_s=2")
    assert sweep.run("ends=ddp_rank_0,ddp_rank_1,ddp_hang,ddp", *options, OMP_NUM_THREADS="1")[0] == 1
    statuses = sweep.statuses()
    assert {statuses.pop("ddp_rank_0_0"), statuses.pop("ddp_rank_1_0")} <= {"failed", "killed"}
    assert statuses == {"ddp_hang_0": "timeout", "ddp_0": "finished"}
    assert len(sweep.reports("ddp*_rank_[01]")) == 8
    wait_until(lambda: not sweep.alive())


@pytest.mark.slow
def test_user_error_in_a_real_job_is_one_sentence_in_its_log(tmp_path):
    command = [sys.executable, "-m", "deepfake_ms.train", "-m", "hydra/launcher=isolated", "hydra.launcher.n_jobs=2"]
    done = subprocess.run(
        [*command, "data=folder", "data.root=nowhere", "seed=0,1"],
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "300", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 1
    assert done.stdout.count("✗ failed (exit code 2)") == 2
    assert done.stdout.count("    error: ") == 2
    assert done.stderr == ""


def test_entry_points_register_the_launcher(call):
    status, shown, _ = call("train", "--cfg", "hydra", "-p", "hydra.launcher", "hydra/launcher=isolated")
    assert status == 0
    assert "n_jobs: 1" in shown
    assert "timeout_s: 86400.0" in shown
    status, shown, _ = call("train", "--info", "plugins")
    assert status == 0
    assert "IsolatedLauncher" in shown
    status, _, errors = call("train", "-m", "hydra/launcher=isolated", "hydra.launcher.n_job=2", "seed=0,1")
    assert status == 1
    assert "n_job" in errors
    status, _, errors = call("train", "-m", "hydra/launcher=isolated", "hydra.launcher.n_jobs=0", "seed=0,1")
    assert status == 2
    assert errors == "error: hydra.launcher.n_jobs=0 runs no jobs: choose at least 1.\n"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"n_jobs": 0}, "n_jobs=0"),
        ({"timeout_s": 0}, "timeout_s=0"),
        ({"grace_s": -1}, "grace_s=-1"),
        ({"gpus": ()}, r"gpus=\[\]"),
        ({"gpus": (1, 1)}, r"gpus=\[1, 1\]"),
        ({"gpus": (-1,)}, r"gpus=\[-1\]"),
    ],
)
def test_invalid_options_are_rejected(options, named):
    with pytest.raises(UserError, match=named):
        PoolSettings(**options)


def test_square_brackets_are_printed_unchanged(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    jobs = [Job("train", (f"note=[{note}]",), (), tmp_path / "[bold]" / note) for note in ("red", "/b")]
    records = [JobRecord("train", job.overrides, Status.FINISHED, 1, "[code]", "then", seconds=1.0) for job in jobs]
    report = SweepReport(jobs, make_console())
    report.skipped(0, records[0])
    report.ended(1, records[1])
    report.summary()
    printed = capsys.readouterr().out
    for text in ("1/2 note=[red]: skipped, already finished by [code]", "│ [/b] ", f"in {tmp_path / '[bold]'}."):
        assert text in printed


def test_folder_name_depends_only_on_program_and_overrides():
    name = folder_name("train train", ["seed=0", "experiment=table2_base"])
    assert name.startswith("experiment=table2_base,seed=0-")
    assert folder_name("train train", ["experiment=table2_base", "seed=0"]) == name
    others = [
        folder_name("train other", ["seed=0", "experiment=table2_base"]),
        folder_name("train train", ["seed=1", "experiment=table2_base"]),
        folder_name("train train", ["data.root=../../up", "seed='a b'"]),
        folder_name("train train", ["optimization.optimizer={" + "x" * 500 + "}"]),
        folder_name("train train", []),
    ]
    assert len({name, *others}) == 6
    assert all(len(other) < 200 and not set(other) & set("/' {}") and other[0] != "." for other in others)


def test_read_record_ignores_damaged_records_and_those_of_other_jobs(tmp_path):
    job = Job("train train", ("seed=0", "loss=weighted"), ("true",), tmp_path / "job")
    assert read_record(job) is None
    record = JobRecord(job.program, job.overrides, Status.KILLED, 2, "code", "then", "now", 1.5, None, "SIGKILL")
    record.write(job.folder)
    assert read_record(job) == record
    assert read_record(replace(job, overrides=job.overrides[::-1])) == record
    assert read_record(replace(job, overrides=("seed=1",))) is None
    for damage in ("", "[]", '{"status": "finished"}', '{"overrides": [], "status": "odd"}'):
        (job.folder / "job.json").write_text(damage)
        assert read_record(job) is None
