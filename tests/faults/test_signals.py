"""SIGTERM, Ctrl-C and the signals that SLURM sends before a time limit: saved, ended with 128 + signal, continued."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_run
import torch
from tiny_run import STAGES, assert_same_weights, train_in_process, train_on_two
from whole_run import BASE, FAMILIES, Workshop, assert_as_undisturbed

from deepfake_ms.training.stage_chain import read_chain

MOMENT = 6
"""Inside the first epoch, between two regular saves."""


def steps_saved(run: Path) -> int:
    return torch.load(run / STAGES[0] / "last.ckpt", weights_only=True)["global_step"]


@pytest.mark.fault("Signals", "one process")
@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
        pytest.param(signal.SIGUSR1, 128 + signal.SIGUSR1, marks=pytest.mark.slow),
        pytest.param(signal.SIGUSR2, 128 + signal.SIGUSR2, marks=pytest.mark.slow),
    ],
)
def test_a_signal_saves_the_step_and_sets_the_exit_code(faces, whole, tmp_path, number, code):
    run = tmp_path / "run"
    assert train_in_process(run, faces, kill=(0, MOMENT, number)) == code
    assert steps_saved(run) == 3
    tiny_run.train(run, faces)
    assert_same_weights(run, whole)


@pytest.mark.fault("Signals", "during validation")
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGUSR1, marks=pytest.mark.slow)])
def test_a_signal_during_validation_ends_it(faces, whole, tmp_path, number):
    run = tmp_path / "run"
    assert train_in_process(run, faces, kill=(0, 14, number)) == 128 + number
    assert steps_saved(run) == 4
    tiny_run.train(run, faces)
    assert_same_weights(run, whole)


@pytest.mark.slow
@pytest.mark.fault("Signals", "either of two processes")
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR2])
def test_both_of_two_processes_stop(faces, tmp_path_factory, rank, number):
    whole, run = (tmp_path_factory.mktemp(name) / "run" for name in ("whole", "stopped"))
    assert train_on_two(run, faces, kill=(rank, MOMENT, number)) == [128 + number, 0]
    assert steps_saved(run) == 3
    assert train_on_two(run, faces) == [0, 0]
    assert train_on_two(whole, faces) == [0, 0]
    assert_same_weights(run, whole)


@pytest.mark.fault("Signals", "a handler of another owner, such as submitit's requeue")
def test_the_handler_that_was_there_before_is_called_after_the_save(faces, tmp_path):
    """submitit requeues the job in its own handler of SIGUSR2."""
    program = f"""
import os, signal, sys
import tiny_run
from pathlib import Path

def requeue(number, _):
    saved = sorted(path.name for path in Path("run").rglob("last.ckpt"))
    print("requeued after", saved, flush=True)
    os._exit(0)

signal.signal(signal.SIGUSR2, requeue)
tiny_run.train(Path("run"), Path({str(faces)!r}), kill=(0, {MOMENT}, signal.SIGUSR2))
"""
    tests = Path(tiny_run.__file__).parent
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{tests}{os.pathsep}{tests.parent}"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip().splitlines()[-1] == "requeued after ['last.ckpt']", done.stderr
    assert done.returncode == 0


@pytest.mark.slow
@pytest.mark.fault("Signals", "to the whole process group, loader processes included")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_the_whole_group_is_one_stop(faces, tmp_path, number):
    """As Ctrl-C in a terminal, and as SLURM signals all processes of a step."""
    command = [sys.executable, "-m", "deepfake_ms.train", *BASE, f"prepared={faces}", *FAMILIES["genconvit_ed"]]
    more = ["optimization.epochs=90", "trainer.num_workers=2", "trainer.save_every_n_steps=100000"]
    with (tmp_path / "printed.txt").open("w+") as printed:
        options = {"cwd": tmp_path, "env": {**os.environ, "OMP_NUM_THREADS": "1"}, "start_new_session": True}
        process = subprocess.Popen([*command, *more], stdout=printed, stderr=printed, **options)
        end = time.monotonic() + 120
        while not list(tmp_path.rglob("metrics.csv")):
            assert time.monotonic() < end
            time.sleep(0.05)
        os.killpg(process.pid, number)
        code = process.wait(60)
        printed.seek(0)
        said = printed.read()
    assert code == 128 + number, said
    assert "Traceback" not in said
    (chain,) = (read_chain(record.parent) for record in tmp_path.rglob("run.json"))
    assert len(chain) < 3


@pytest.mark.slow
@pytest.mark.fault("Signals", "Ctrl-C at a random time")
@pytest.mark.parametrize("after_s", [0.4, 1.2, 2.0, 2.8, 3.6])
def test_interrupted_at_any_time_the_command_continues(undisturbed, faces, tmp_path, after_s):
    workshop = Workshop(tmp_path, faces, FAMILIES["genconvit_ed"])
    (code,) = workshop.start(after_s=after_s, number=signal.SIGINT)
    assert code in (0, 130), workshop.printed
    assert "Traceback" not in workshop.printed
    assert workshop.start() == [0], workshop.printed
    assert_as_undisturbed(workshop, undisturbed)
