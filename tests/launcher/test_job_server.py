"""The server that forks the jobs of a sweep: what it loads, and what happens if it or the sweep ends early."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepfake_ms.launcher import process
from deepfake_ms.launcher.process import JobProcess, JobServer

MAX_WAIT_S = 60
PROGRAM = """
import os, sys, time
import heavy

if __name__ == "__main__":
    print("arguments", *sys.argv[1:], flush=True)
    if sys.argv[1] == "sleep":
        time.sleep(100)
    if sys.argv[1] == "raise":
        raise RuntimeError("the program crashes")
    sys.exit(int(sys.argv[1]))
"""
HEAVY = """
import os, time
with open("loaded", "a") as stream:
    stream.write("x")
time.sleep(float(os.environ.get("LOADING_S", 0)))
"""


@pytest.fixture(autouse=True)
def program(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("program.py").write_text(PROGRAM)
    Path("heavy.py").write_text(HEAVY)


@pytest.fixture
def server() -> Iterator[JobServer]:
    server = JobServer(("-m", "program"), {**os.environ, "PYTHONUNBUFFERED": "1"})
    yield server
    server.close()


def start(server: JobServer, *arguments: str, log: str = "log") -> JobProcess:
    with Path(log).open("wb") as stream:
        return server.start_job(arguments, {}, 1.0, stream)


def wait(job: JobProcess) -> int:
    end = time.monotonic() + MAX_WAIT_S
    while (status := job.poll()) is None:
        assert time.monotonic() < end, "timed out"
        time.sleep(0.05)
    return status


def wait_for_text(log: str) -> None:
    end = time.monotonic() + MAX_WAIT_S
    while not Path(log).read_text():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.05)


def test_jobs_share_the_loaded_modules_and_end_with_their_own_status(server):
    jobs = [start(server, status, log=f"log_{status}") for status in ("0", "3", "4")]
    assert [wait(job) for job in jobs] == [0, 3, 4]
    assert Path("log_3").read_text() == "arguments 3\n"
    assert Path("loaded").read_text() == ("x" if sys.platform == "linux" else "xxx")


def test_an_error_while_loading_is_in_the_log_of_the_job(server):
    Path("heavy.py").write_text("import not_there")
    assert wait(start(server, "0")) == 1
    assert Path("log").read_text().endswith("ModuleNotFoundError: No module named 'not_there'\n")


def test_a_crash_of_the_job_is_in_its_log(server):
    assert wait(start(server, "raise")) == 1
    assert Path("log").read_text().endswith("RuntimeError: the program crashes\n")


def test_changed_code_is_loaded_by_the_next_job(server, monkeypatch):
    assert wait(start(server, "0")) == 0
    monkeypatch.setattr(process, "code_digest", lambda: "changed")
    assert wait(start(server, "0")) == 0
    assert wait(start(server, "0")) == 0
    assert Path("loaded").read_text() == ("xx" if sys.platform == "linux" else "xxx")


def test_a_killed_server_is_replaced_and_its_jobs_go_on(server):
    job = start(server, "sleep")
    wait_for_text("log")
    server.process.kill()
    server.process.wait()
    assert wait(start(server, "4", log="other")) == 4
    assert job.poll() is None
    job.request_stop()
    assert wait(job) == -signal.SIGTERM


def test_a_killed_guard_counts_as_a_killed_job(server):
    job = start(server, "sleep")
    wait_for_text("log")
    job.poll()
    os.kill(int(job.received), signal.SIGKILL)
    assert wait(job) == -signal.SIGKILL
    job.kill()  # the job itself


@pytest.mark.skipif(sys.platform != "linux", reason="modules are loaded in advance on Linux only")
def test_a_stop_does_not_wait_until_the_modules_are_loaded(server):
    server.environment = {**server.environment, "LOADING_S": "1000"}
    job = start(server, "0")
    job.request_stop()
    assert job.poll() == -signal.SIGTERM
    before = time.monotonic()
    server.close()
    assert time.monotonic() - before < 10
    assert Path("log").read_text() == ""


def test_a_job_that_was_stopped_before_its_start_does_not_start(server):
    server.environment = {**server.environment, "LOADING_S": "1"}
    job = start(server, "0", log="stopped")
    job.request_stop()
    assert wait(start(server, "5", log="other")) == 5
    assert Path("stopped").read_text() == ""


TOUCHES_CUDA = """
import torch

def touched(*_):
    raise SystemExit("CUDA is used while modules are loaded")

for name in ("_cuda_init", "_cuda_getDeviceCount"):
    setattr(torch._C, name, touched)
import deepfake_ms.evaluate, deepfake_ms.explain, deepfake_ms.export, deepfake_ms.prepare, deepfake_ms.train
"""


def test_loading_a_command_does_not_use_cuda():
    """CUDA does not survive a fork once a process has used it."""
    done = subprocess.run([sys.executable, "-c", TOUCHES_CUDA], capture_output=True, text=True, timeout=MAX_WAIT_S)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_server_ends_with_the_sweep():
    code = "import os, json; from deepfake_ms.launcher.process import JobServer\n"
    code += "server = JobServer(['-m', 'program'], dict(os.environ))\n"
    code += "job = server.start_job(['sleep'], {}, 1.0, open('log', 'wb'))\n"
    code += "print(json.dumps(server.process.pid), flush=True); import time; time.sleep(100)"
    sweep = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = json.loads(sweep.stdout.readline())
    wait_for_text("log")
    sweep.kill()
    sweep.wait()
    end = time.monotonic() + MAX_WAIT_S
    while _is_running(pid):
        assert time.monotonic() < end, "the server is still running"
        time.sleep(0.05)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
