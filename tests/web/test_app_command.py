"""``deepfake-ms app`` as a process, and its mistakes."""

import re
import signal
import socket
import subprocess
import sys
import urllib.request

import orders
import pytest
import tiny_run
from rich.console import Console

from deepfake_ms.evaluation.scores import evaluate
from deepfake_ms.evaluation.test_set import TestSet

STOP_S = 30


@pytest.mark.slow
def test_the_command_serves_until_it_is_interrupted(tmp_path):
    prepared = tiny_run.write_faces(tmp_path / "prepared" / "tiny-0123456789ab")
    run = tiny_run.train(tmp_path / "run", prepared, tiny_run.ONE_STAGE)
    evaluate(run, TestSet.of_run(run, "test"), tiny_run.trainer(), Console(quiet=True))
    command = [sys.executable, "-m", "deepfake_ms.cli", "app", f"run={tmp_path / 'run'}", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            url = re.match(r"(http://127\.0\.0\.1:\d+/) ", line)[1]
            page = urllib.request.urlopen(url, timeout=STOP_S).read().decode()
        finally:
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=STOP_S)
    assert "small, trained on tiny, seed 0" in page
    assert process.returncode == 0
    assert errors.splitlines() == ["Loading the detector ..."]


def test_mistakes(call, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    assert call("app", "path")[0] == 2
    status, _, errors = call("app", "run=empty", "video.mp4")
    assert (status, "only prepared=FOLDER may follow" in errors) == (2, True)
    status, _, errors = call("app", "run=missing")
    assert (status, "run=missing: there is no such folder" in errors) == (2, True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, _, errors = call("app", "run=empty", "--port", str(port))
    assert (status, f"127.0.0.1:{port} cannot be used" in errors) == (2, True)
    with monkeypatch.context() as patch:
        patch.setattr("deepfake_ms.app._load", orders.refusing)
        status, _, errors = call("app", "run=empty", "--port", "0")
    assert (status, "error: no such run" in errors) == (2, True)
    monkeypatch.setattr("deepfake_ms.app.find_spec", lambda name: name != "uvicorn" or None)
    status, _, errors = call("app", "run=empty")
    assert (status, "uvicorn is not installed" in errors) == (2, True)
    assert "pip install -e '.[app]'" in errors
