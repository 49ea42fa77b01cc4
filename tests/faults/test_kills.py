"""SIGKILL at any moment of `deepfake-ms train`: the same command continues and ends as if nothing had happened."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
from whole_run import BASE, FAMILIES, SAVED_EVERY, Workshop, alive_in, assert_as_undisturbed, choose_kills, wait_for_end
from writes import kill_at

from deepfake_ms.training.checkpoint_files import BackgroundCheckpoints
from deepfake_ms.training.stage_chain import read_chain

AT_WRITES, AT_TIMES = 43, 7
"""Kills of one process: before and inside writes of every kind, and at random times."""
AT_WRITES_IN_BACKGROUND = 10
AT_WRITES_OF_TWO, AT_TIMES_OF_TWO = 14, 6
LONGEST_S = 4


@pytest.fixture
def workshop(tmp_path, faces) -> Workshop:
    return Workshop(tmp_path, faces, FAMILIES["genconvit_ed"])


@pytest.fixture(scope="module")
def two_undisturbed(tmp_path_factory, faces) -> Workshop:
    workshop = Workshop(tmp_path_factory.mktemp("two"), faces, FAMILIES["genconvit_ed"])
    assert workshop.start(ranks=2) == [0, 0], workshop.printed
    return workshop


def is_killed(code: int) -> bool:
    return code in (-signal.SIGKILL, -signal.SIGXFSZ)


@pytest.mark.fault("Kills", "one process, inside or right before a write")
@pytest.mark.parametrize("file", ["last.ckpt", "scores.json", pytest.param("chain.json", marks=pytest.mark.slow)])
def test_killed_inside_a_write(undisturbed, workshop, file):
    writes = undisturbed.writes()
    number = [
        number for number, write in enumerate(writes) if write.path.endswith(f"/{file}") and write.event == "open"
    ][-1]
    assert workshop.start(kill_at(writes, number, 100)) == [-signal.SIGXFSZ]
    assert workshop.start() == [0], workshop.printed
    assert_as_undisturbed(workshop, undisturbed)


@pytest.mark.slow
@pytest.mark.fault("Kills", "one process, inside or right before a write")
@pytest.mark.parametrize("number", range(AT_WRITES))
def test_killed_at_a_write(undisturbed, workshop, number):
    assert is_killed(*workshop.start(choose_kills(undisturbed.writes(), AT_WRITES)[number]))
    assert workshop.start() == [0], workshop.printed
    assert_as_undisturbed(workshop, undisturbed)


@pytest.mark.slow
@pytest.mark.fault("Kills", "one process that writes checkpoints in the background")
@pytest.mark.parametrize("number", range(AT_WRITES_IN_BACKGROUND))
def test_killed_at_a_write_in_the_background(undisturbed, workshop, number):
    more = ["trainer.background_checkpoints=true"]
    kills = choose_kills([write for write in undisturbed.writes() if write.path.endswith(".ckpt")], 20)
    assert is_killed(*workshop.start(kills[number], more=more))
    assert workshop.start(more=more) == [0], workshop.printed
    assert_as_undisturbed(workshop, undisturbed, lost=SAVED_EVERY * (1 + BackgroundCheckpoints.WAITING))


@pytest.mark.slow
@pytest.mark.fault("Kills", "one process with a loader process, at a random time")
@pytest.mark.parametrize("seed", range(AT_TIMES))
def test_killed_at_a_random_time(undisturbed, workshop, seed):
    more = ["trainer.num_workers=1"]
    assert is_killed(*workshop.start(after_s=random.Random(seed).uniform(0.2, LONGEST_S), more=more))
    assert workshop.start(more=more) == [0], workshop.printed
    assert_as_undisturbed(workshop, undisturbed)


@pytest.mark.slow
@pytest.mark.fault("Kills", "one of two processes, inside or right before a write")
@pytest.mark.parametrize("number", range(AT_WRITES_OF_TWO))
def test_rank_0_of_two_is_killed_at_a_write(two_undisturbed, workshop, number):
    kills = choose_kills(two_undisturbed.writes(), AT_WRITES)
    assert is_killed(workshop.start(kills[number], ranks=2)[0])
    assert workshop.start(ranks=2) == [0, 0], workshop.printed
    assert_as_undisturbed(workshop, two_undisturbed, ranks=2)


@pytest.mark.slow
@pytest.mark.fault("Kills", "one of two processes, at a random time")
@pytest.mark.parametrize("seed", range(AT_TIMES_OF_TWO))
def test_one_of_two_is_killed_at_a_random_time(two_undisturbed, workshop, seed):
    rank = 1 if seed else 0
    codes = workshop.start(ranks=2, rank=rank, after_s=random.Random(seed).uniform(0.2, LONGEST_S))
    assert is_killed(codes[rank])
    assert workshop.start(ranks=2) == [0, 0], workshop.printed
    assert_as_undisturbed(workshop, two_undisturbed, ranks=2)


@pytest.mark.slow
@pytest.mark.fault("Kills", "every model family, inside the last checkpoint")
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_survives_a_kill(faces, tmp_path_factory, family):
    whole, killed = (Workshop(tmp_path_factory.mktemp(name), faces, FAMILIES[family]) for name in ("whole", "killed"))
    assert whole.start() == [0], whole.printed
    writes = whole.writes()
    saves = [
        number for number, write in enumerate(writes) if write.path.endswith("last.ckpt") and write.event == "open"
    ]
    assert killed.start(kill_at(writes, saves[-1], 100)) == [-signal.SIGXFSZ]
    assert killed.start() == [0], killed.printed
    assert_as_undisturbed(killed, whole)


@pytest.mark.slow
@pytest.mark.fault("Kills", "the process that has started the other one; no orphan")
def test_no_process_outlives_a_killed_command(faces, tmp_path):
    """The command itself, whose first process starts the second one and both their loader processes."""
    several = ("trainer.lightning.devices=2", "trainer.lightning.strategy=ddp", "trainer.num_workers=1")
    command = [
        sys.executable,
        "-m",
        "deepfake_ms.train",
        *BASE,
        f"prepared={faces}",
        *FAMILIES["genconvit_ed"],
        *several,
    ]
    options = {"cwd": tmp_path, "env": {**os.environ, "OMP_NUM_THREADS": "1"}, "start_new_session": True}
    with (tmp_path / "printed.txt").open("w") as printed:
        process = subprocess.Popen([*command, "optimization.epochs=300"], stdout=printed, stderr=printed, **options)
        end = time.monotonic() + 120
        while not list(tmp_path.rglob("last.ckpt")):
            assert time.monotonic() < end, (tmp_path / "printed.txt").read_text()
            assert process.poll() is None, (tmp_path / "printed.txt").read_text()
            time.sleep(0.1)
    assert len(alive_in({process.pid})) >= 2
    process.kill()
    process.wait()
    assert wait_for_end({process.pid}), "processes are left after 10 s"


@pytest.mark.slow
@pytest.mark.fault("Kills", "a run that is killed again and again")
def test_killed_five_times(undisturbed, workshop):
    writes = undisturbed.writes()
    saves = [
        number for number, write in enumerate(writes) if write.path.endswith("last.ckpt") and write.event == "open"
    ]
    for _ in range(5):
        workshop.start(kill_at(writes, saves[1] + 5))
    assert workshop.start() == [0], workshop.printed
    assert_as_undisturbed(workshop, undisturbed, kills=5)
    assert len(read_chain(workshop.run)) == 3
