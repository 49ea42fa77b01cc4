"""Training on two gloo processes: one chain, either may die, SIGTERM stops both, batches may be accumulated."""

import signal
from pathlib import Path

import pandas as pd
import pytest
import tiny_run
import torch
from tiny_run import STAGES, STEPS, assert_same_weights, launch_on_two, train_on_two

from deepfake_ms.training.stage_chain import read_chain

pytestmark = pytest.mark.fault("Ranks", "one of two ranks is killed or gets SIGTERM; accumulation; frozen parts")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    return tiny_run.write_faces(tmp_path_factory.mktemp("prepared") / "tiny")


@pytest.fixture(scope="module")
def on_two(tmp_path_factory, prepared) -> Path:
    run = tmp_path_factory.mktemp("on_two") / "run"
    assert train_on_two(run, prepared) == [0, 0]
    return run


def test_two_processes_give_one_chain(on_two):
    assert [handoff.stage for handoff in read_chain(on_two)] == STAGES
    assert pd.read_csv(on_two / "metrics.csv")["step"].tolist() == STEPS


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_either_of_two_processes_may_die(on_two, prepared, tmp_path, rank):
    run = tmp_path / "run"
    codes = train_on_two(run, prepared, kill=(rank, 30))
    assert codes[rank] == -signal.SIGKILL
    assert codes[1 - rank] == 1  # it notices
    assert len(read_chain(run)) < 3
    assert train_on_two(run, prepared) == [0, 0]
    assert_same_weights(run, on_two)


@pytest.mark.parametrize(
    ("moment", "codes"),
    [
        pytest.param(6, [143, 0], id="training"),
        # Validation is aborted at once; the other process, which got no signal, notices that rank 0 is gone.
        pytest.param(14, [143, 1], id="validation", marks=pytest.mark.slow),
    ],
)
def test_sigterm_to_rank_0_stops_both_processes(on_two, prepared, tmp_path, moment, codes):
    run = tmp_path / "run"
    assert train_on_two(run, prepared, kill=(0, moment, signal.SIGTERM)) == codes
    assert read_chain(run) == []
    if moment == 6:  # between the regular saves
        assert torch.load(run / STAGES[0] / "last.ckpt", weights_only=True)["global_step"] == 3
    assert train_on_two(run, prepared) == [0, 0]
    assert_same_weights(run, on_two)


@pytest.mark.slow
def test_processes_that_lightning_starts_end_alike_and_stop_at_sigterm(on_two, prepared, tmp_path):
    run = tmp_path / "run"
    stopped = launch_on_two(run, prepared, kill=(0, 6, signal.SIGTERM))
    assert stopped.returncode == 143, stopped.stderr
    assert torch.load(run / STAGES[0] / "last.ckpt", weights_only=True)["global_step"] == 3
    again = launch_on_two(run, prepared)
    assert again.returncode == 0, again.stderr
    assert_same_weights(run, on_two)


def test_two_processes_that_accumulate_batches_equal_one_that_does_not(prepared, tmp_path):
    """With SGD, equal class weights and no BatchNorm; the second start resumes in the middle of an epoch."""
    tiny_run.train(tmp_path / "whole", prepared, tiny_run.VIT)
    parts = {"accumulate_grad_batches": 2}
    # the 5th moment is the first batch of the second step
    assert train_on_two(tmp_path / "run", prepared, tiny_run.VIT, switches=parts, kill=(1, 19)) != [0, 0]
    assert train_on_two(tmp_path / "run", prepared, tiny_run.VIT, switches=parts) == [0, 0]
    assert_same_weights(tmp_path / "run", tmp_path / "whole", rtol=1e-4, atol=1e-5)
    table = pd.read_csv(tmp_path / "run" / "metrics.csv")
    assert table["step"].tolist() == STEPS


def test_two_processes_train_what_a_stage_does_not_freeze(prepared, tmp_path):
    freeze = {"curriculum.stages.1.freeze": ["backbone"]}
    assert train_on_two(tmp_path / "run", prepared, freeze) == [0, 0]
    first, second, third = tiny_run.weights_of(tmp_path / "run")
    for name, before in first.items():
        if name.startswith("model.backbone."):
            assert torch.equal(second[name], before), name
    assert any(not torch.equal(second[name], first[name]) for name in first)
    assert not torch.equal(third["model.backbone.conv1.weight"], second["model.backbone.conv1.weight"])
