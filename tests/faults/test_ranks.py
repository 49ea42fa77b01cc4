"""Several processes: every way to start them, every model family, ranks that hang; all in gloo on this machine."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_run
from tiny_run import STAGES, assert_same_weights, train_on_two
from whole_run import FAMILIES, Workshop

from deepfake_ms.training.stage_chain import read_chain

PROGRAM = tiny_run.__file__


@pytest.fixture(scope="module")
def on_two(tmp_path_factory, faces) -> Path:
    """A run of two ranks that were started one by one."""
    run = tmp_path_factory.mktemp("on_two") / "run"
    assert train_on_two(run, faces) == [0, 0]
    return run


def start(command: list[str], folder: Path, **environment: str) -> subprocess.Popen:
    tests = Path(PROGRAM).parent
    paths = {"PYTHONPATH": f"{tests}{os.pathsep}{tests.parent}", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **paths, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@pytest.mark.slow
@pytest.mark.fault("Ranks", "started by torchrun")
def test_torchrun_gives_the_same_weights(faces, on_two, tmp_path):
    options = ["--nproc-per-node=2", "--master-port=29531", PROGRAM, "run", str(faces)]
    trainer = json.dumps({"devices": 2, "strategy": "ddp"})
    process = start([sys.executable, "-m", "torch.distributed.run", *options, "--trainer", trainer], tmp_path)
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert_same_weights(tmp_path / "run", on_two)


@pytest.mark.slow
@pytest.mark.fault("Ranks", "two nodes of one process each, imitated on one machine")
def test_two_nodes_give_the_weights_of_two_processes(faces, on_two, tmp_path):
    trainer = json.dumps({"devices": 1, "num_nodes": 2, "strategy": "ddp"})
    command = [sys.executable, PROGRAM, "run", str(faces), "--trainer", trainer]
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29532", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
    nodes = [start(command, tmp_path, NODE_RANK=str(node), **address) for node in range(2)]
    said = [node.communicate(timeout=200)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    assert_same_weights(tmp_path / "run", on_two)


@pytest.mark.slow
@pytest.mark.fault("Ranks", "started by ddp_spawn")
@pytest.mark.parametrize("background", [False, True], ids=["", "checkpoints in the background"])
def test_spawned_processes_give_the_same_weights(faces, on_two, tmp_path, background):
    trainer = json.dumps({"devices": 2, "strategy": "ddp_spawn", "background_checkpoints": background})
    process = start([sys.executable, PROGRAM, "run", str(faces), "--trainer", trainer], tmp_path)
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert_same_weights(tmp_path / "run", on_two)


class Hang(tiny_run.Callback):
    """Rank 1 sleeps before its third step."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if trainer.global_rank == 1 and trainer.global_step == 2:
            time.sleep(3600)


@pytest.mark.slow
@pytest.mark.fault("Ranks", "a rank that hangs: the other one gives up after trainer.timeout_s")
def test_a_rank_gives_up_waiting_for_one_that_hangs(faces, tmp_path):
    program = f"""
import sys
from dataclasses import replace
from pathlib import Path
import tiny_run
from test_ranks import Hang
made = tiny_run.trainer
tiny_run.trainer = lambda **named: replace(made(**named), timeout_s=5)
tiny_run.train(Path("run"), Path({str(faces)!r}), switches={{"devices": 2, "strategy": "ddp", "extra": (Hang(),)}})
"""
    folder = Path(__file__).parent
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29533"}
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r})\n{program}"]
    ranks = [start(command, tmp_path, LOCAL_RANK=str(rank), **address) for rank in range(2)]
    try:
        said, _ = ranks[0].communicate(timeout=90)
        assert ranks[0].returncode == 1
        assert b"does not answer within trainer.timeout_s" in said
        assert read_chain(tmp_path / "run") == []
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    assert train_on_two(tmp_path / "run", faces) == [0, 0]  # at the end, the same command continues
    assert [each.stage for each in read_chain(tmp_path / "run")] == STAGES


@pytest.mark.slow
@pytest.mark.fault("Ranks", "every model family on two ranks, with uneven data")
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_trains_and_is_scored_on_two_ranks(faces, tmp_path, family):
    workshop = Workshop(tmp_path, faces, FAMILIES[family])
    assert workshop.start(ranks=2) == [0, 0], workshop.printed
    assert list(workshop.run.glob("evaluation/test/selected/scores.json"))


@pytest.mark.slow
@pytest.mark.fault("Ranks", "accumulated batches on two ranks; SyncBatchNorm, which needs GPUs, is refused")
def test_switches_of_two_ranks(faces, tmp_path):
    workshop = Workshop(tmp_path, faces, FAMILIES["genconvit_ed"])
    assert workshop.start(ranks=2, more=["++trainer.lightning.sync_batchnorm=true"]) == [2, 2]
    assert "trainer.lightning.sync_batchnorm needs GPUs" in workshop.printed
    assert workshop.start(ranks=2, more=["++trainer.lightning.accumulate_grad_batches=2"]) == [0, 0], workshop.printed
    assert len(read_chain(workshop.run)) == 3
