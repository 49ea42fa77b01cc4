"""The chain of stages: weights really carried, killed anywhere and resumed bit for bit, on one process and on two."""

import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import tiny_run
import torch

from deepfake_ms.errors import UserError
from deepfake_ms.training.stage_chain import load_weights, read_chain

STAGES = [stage.name for stage in tiny_run.CURRICULUM.stages]
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tiny_run", "deepfake_ms.training.trainer", "timm", "albumentations"])


def train_in_process(*arguments) -> int:
    """Exit code of `tiny_run.train` in a process of its own."""
    process = PROCESSES.Process(target=tiny_run.train, args=arguments)
    process.start()
    process.join(120)
    assert process.exitcode is not None, "the tiny run hangs"
    return process.exitcode


def weights_of(run: Path) -> list[dict[str, torch.Tensor]]:
    """What each finished stage handed over."""
    return [load_weights(run / handoff.checkpoint, handoff.sha256) for handoff in read_chain(run)]


def assert_same_weights(ours: list[dict], theirs: list[dict]) -> None:
    assert len(ours) == len(theirs) == len(STAGES)
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert torch.equal(one[name], other[name]), name


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    return tiny_run.write_faces(tmp_path_factory.mktemp("prepared") / "tiny")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, prepared) -> Path:
    """A run that nobody killed."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    tiny_run.train(run, prepared)
    return run


def test_all_stages_run_in_order_with_continuous_steps(undisturbed):
    assert [handoff.stage for handoff in read_chain(undisturbed)] == STAGES
    table = pd.read_csv(undisturbed / "metrics.csv")
    assert table["stage"].tolist() == [STAGES[0], STAGES[0], STAGES[1], STAGES[1], STAGES[2], STAGES[2]]
    assert table["faces"].tolist()[::2] == ["masked_eyes", "cropped", "masked_eyes"]
    assert table["step"].tolist() == [6, 12, 18, 24, 30, 36]


def test_a_stage_starts_from_the_weights_before_it_and_a_fresh_optimizer(prepared, tmp_path):
    seen = {}

    class Look(tiny_run.Callback):
        def on_train_start(self, trainer, pl_module):
            seen["weights"] = {name: value.clone() for name, value in pl_module.state_dict().items()}
            seen["optimizer"] = trainer.optimizers[0].state_dict()["state"]

    class Settings(tiny_run.TrainerSettings):
        def build(self, **arguments):
            return super().build(**{**arguments, "callbacks": [*arguments["callbacks"], Look()]})

    settings = Settings(**{name: getattr(tiny_run.CPU, name) for name in tiny_run.CPU.__dataclass_fields__})
    detector, run = tiny_run.make_detector(), tmp_path / "run"
    carried = []
    for last_stage in range(1, 4):
        shorter = tiny_run.Curriculum(tiny_run.CURRICULUM.stages[:last_stage], "best", "validation/loss", "min")
        tiny_run.run_curriculum(
            run,
            shorter,
            detector,
            lambda stage: tiny_run.make_data(prepared, stage, 4),
            settings,
            seed=0,
            config_sha256="tiny",
            console=tiny_run.Console(quiet=True),
        )
        assert seen["optimizer"] == {}
        if carried:
            for name, value in carried[-1].items():
                assert torch.equal(seen["weights"][name], value), name
        carried.append(weights_of(run)[-1])
    moved = [
        any(not torch.equal(before[name], after[name]) for name in before)
        for before, after in itertools.pairwise(carried)
    ]
    assert moved == [True, True]


def test_killed_again_and_again_it_ends_with_the_same_weights(prepared, undisturbed, tmp_path):
    run = tmp_path / "run"
    kills = 0
    for moment in (3, 8, 9, 17, 5, 20, 2, 26, 19, 11, 23, 24):
        code = train_in_process(run, prepared, 1, "auto", (0, moment))
        assert code in (0, -signal.SIGKILL)
        kills += code != 0
    assert train_in_process(run, prepared) == 0
    assert kills >= 10
    assert_same_weights(weights_of(run), weights_of(undisturbed))
    ours, theirs = (pd.read_csv(folder / "metrics.csv").drop(columns="train/loss") for folder in (run, undisturbed))
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(1, 106))
def test_killed_at_any_moment_it_ends_with_the_same_weights(prepared, undisturbed, tmp_path, moment):
    assert train_in_process(tmp_path / "run", prepared, 1, "auto", (0, moment)) == -signal.SIGKILL
    assert train_in_process(tmp_path / "run", prepared) == 0
    assert_same_weights(weights_of(tmp_path / "run"), weights_of(undisturbed))


def test_loader_workers_change_nothing_not_even_after_a_kill(prepared, undisturbed, tmp_path):
    assert train_in_process(tmp_path / "run", prepared, 1, "auto", (0, 12), signal.SIGKILL, 2) == -signal.SIGKILL
    assert train_in_process(tmp_path / "run", prepared, 1, "auto", None, signal.SIGKILL, 2) == 0
    assert_same_weights(weights_of(tmp_path / "run"), weights_of(undisturbed))


def test_sigterm_saves_the_step_and_says_143(prepared, undisturbed, tmp_path):
    run = tmp_path / "run"
    assert train_in_process(run, prepared, 1, "auto", (0, 6), signal.SIGTERM) == 143
    saved = torch.load(run / STAGES[0] / "last.ckpt", weights_only=True)["global_step"]
    assert saved % tiny_run.CPU.save_every_n_steps == 1  # between the regular saves
    assert train_in_process(run, prepared) == 0
    assert_same_weights(weights_of(run), weights_of(undisturbed))


def test_a_finished_run_is_left_alone(undisturbed, prepared):
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*") if path.is_file()}
    tiny_run.train(undisturbed, prepared)
    assert {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*") if path.is_file()} == before


def copy_with_one_stage(source: Path, target: Path) -> Path:
    target.mkdir()
    os.system(f"cp -r {source}/. {target}")
    chain = json.loads((target / "chain.json").read_text())
    (target / "chain.json").write_text(json.dumps({"stages": chain["stages"][:1]}))
    return target


def test_a_changed_handoff_is_refused(undisturbed, prepared, tmp_path):
    run = copy_with_one_stage(undisturbed, tmp_path / "run")
    (run / STAGES[1] / "last.ckpt").unlink()
    with (run / STAGES[0] / "best.ckpt").open("ab") as checkpoint:
        checkpoint.write(b"x")
    with pytest.raises(UserError, match="has changed since"):
        tiny_run.train(run, prepared)


def test_a_checkpoint_of_another_stage_or_run_is_refused(undisturbed, prepared, tmp_path):
    run = copy_with_one_stage(undisturbed, tmp_path / "run")
    (run / STAGES[0] / "last.ckpt").replace(run / STAGES[1] / "last.ckpt")
    with pytest.raises(UserError, match="was not made by stage 2_cropped of this run"):
        tiny_run.train(run, prepared)


def test_a_damaged_chain_is_named(tmp_path):
    (tmp_path / "chain.json").write_text('{"stages": [{"stage"')
    with pytest.raises(UserError, match=r"chain\.json is damaged"):
        read_chain(tmp_path)


def test_a_loss_that_is_not_finite_stops_the_run(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.nn.CrossEntropyLoss, "forward", lambda self, logits, labels: logits.sum() * float("nan"))
    with pytest.raises(UserError, match=r"loss became nan in epoch 1: lower optimization\.optimizer\.lr"):
        tiny_run.train(tmp_path / "run", prepared)
    assert read_chain(tmp_path / "run") == []


def train_on_two(run: Path, prepared: Path, *arguments: str) -> subprocess.CompletedProcess:
    """The tiny run on two gloo processes."""
    return subprocess.run(
        [sys.executable, tiny_run.__file__, run, prepared, "--devices", "2", "--strategy", "ddp", *arguments],
        timeout=180,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def on_two(tmp_path_factory, prepared) -> Path:
    run = tmp_path_factory.mktemp("on_two") / "run"
    done = train_on_two(run, prepared)
    assert done.returncode == 0, done.stderr
    return run


def test_two_processes_give_one_chain(on_two):
    assert [handoff.stage for handoff in read_chain(on_two)] == STAGES
    assert pd.read_csv(on_two / "metrics.csv")["step"].tolist() == [6, 12, 18, 24, 30, 36]


@pytest.mark.parametrize("rank", [0, 1])
def test_either_of_two_processes_may_die(on_two, prepared, tmp_path, rank):
    assert train_on_two(tmp_path / "run", prepared, "--kill", f"{rank}:30").returncode != 0
    assert len(read_chain(tmp_path / "run")) < 3
    again = train_on_two(tmp_path / "run", prepared)
    assert again.returncode == 0, again.stderr
    assert_same_weights(weights_of(tmp_path / "run"), weights_of(on_two))
