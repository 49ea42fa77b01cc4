"""The chain of stages: weights are carried on, and a run that is killed anywhere resumes bit for bit."""

import itertools
import json
import shutil
import signal
from pathlib import Path

import pandas as pd
import pytest
import tiny_run
import torch
from tiny_run import STAGES, STEPS, assert_same_weights, interrupt, train_in_process, weights_of

from deepfake_ms.errors import UserError
from deepfake_ms.training.stage_chain import read_chain


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
    assert table["stage"].tolist() == [stage for stage in STAGES for _ in range(2)]
    assert table["faces"].tolist()[::2] == ["masked_eyes", "cropped", "masked_eyes"]
    assert table["step"].tolist() == STEPS


class Look(tiny_run.Callback):
    """Notes the weights and the state of the optimizer with which each stage starts."""

    def __init__(self):
        self.weights, self.optimizers = [], []

    def on_train_start(self, trainer, pl_module):
        self.weights.append({name: value.clone() for name, value in pl_module.state_dict().items()})
        self.optimizers.append(trainer.optimizers[0].state_dict()["state"])


def test_a_stage_starts_with_the_weights_of_the_one_before_and_a_new_optimizer(prepared, tmp_path):
    look = Look()
    tiny_run.train(tmp_path / "run", prepared, switches={"extra": (look,)})
    carried = weights_of(tmp_path / "run")
    assert look.optimizers == [{}, {}, {}]
    for before, start in zip(carried, look.weights[1:], strict=False):
        assert before.keys() == start.keys()
        assert all(torch.equal(before[name], start[name]) for name in before)
    for before, after in itertools.pairwise(carried):
        assert any(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("carry", ["best", "last"])
def test_what_is_handed_on_is_the_stages_choice(prepared, tmp_path, carry):
    """The learning rate is so high that the first epoch is the best one."""
    changes = tiny_run.VIT | {"optimization.optimizer.lr": 0.5, "curriculum.stages.0.carry": carry}
    tiny_run.train(tmp_path / "run", prepared, changes)
    first = read_chain(tmp_path / "run")[0]
    assert first.checkpoint == f"{STAGES[0]}/{carry}.ckpt"
    table = pd.read_csv(tmp_path / "run" / "metrics.csv").head(2)
    assert table["validation/loss"].idxmin() == 0
    assert first.score == pytest.approx(table["validation/loss"].min())
    epoch = torch.load(tmp_path / "run" / first.checkpoint, weights_only=True)["epoch"]
    assert epoch == {"best": 0, "last": 1}[carry]


def assert_same_run(run: Path, undisturbed: Path) -> None:
    assert_same_weights(run, undisturbed)
    # The training loss of an epoch in which a run was resumed is the mean over the steps since then.
    ours, theirs = (pd.read_csv(folder / "metrics.csv").drop(columns="train/loss") for folder in (run, undisturbed))
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)


def test_killed_again_and_again_it_ends_with_the_same_weights(prepared, undisturbed, tmp_path):
    run = tmp_path / "run"
    for moment in (8, 21, 26):
        assert train_in_process(run, prepared, kill=(0, moment)) == -signal.SIGKILL
    interruptions = [interrupt(run, prepared, moment) for moment in (3, 17, 5, 20, 2, 19, 11, 23)]
    assert sum(interruptions) >= 6
    tiny_run.train(run, prepared)
    assert_same_run(run, undisturbed)


def test_checkpoints_written_in_the_background_are_the_same_even_after_kills(prepared, undisturbed, tmp_path):
    run, background = tmp_path / "run", {"background_checkpoints": True}
    for moment in (8, 21):
        assert train_in_process(run, prepared, switches=background, kill=(0, moment)) == -signal.SIGKILL
    assert train_in_process(run, prepared, switches=background, kill=(0, 3, signal.SIGTERM)) == 143
    assert train_in_process(run, prepared, switches=background) == 0
    assert_same_run(run, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(1, 106))
def test_interrupted_at_any_moment_it_ends_with_the_same_weights(prepared, undisturbed, tmp_path, moment):
    assert interrupt(tmp_path / "run", prepared, moment)
    tiny_run.train(tmp_path / "run", prepared)
    assert_same_run(tmp_path / "run", undisturbed)


def test_loader_workers_change_nothing_even_after_a_kill(prepared, tmp_path):
    changes, workers = tiny_run.VIT | tiny_run.ONE_STAGE, {"num_workers": 2}
    tiny_run.train(tmp_path / "undisturbed", prepared, changes)
    assert train_in_process(tmp_path / "run", prepared, changes, workers, kill=(0, 12)) == -signal.SIGKILL
    assert train_in_process(tmp_path / "run", prepared, changes, workers) == 0
    assert_same_run(tmp_path / "run", tmp_path / "undisturbed")


def test_sigterm_saves_the_step_and_exits_with_143(prepared, undisturbed, tmp_path):
    run = tmp_path / "run"
    assert train_in_process(run, prepared, kill=(0, 6, signal.SIGTERM)) == 143
    saved = torch.load(run / STAGES[0] / "last.ckpt", weights_only=True)["global_step"]
    assert saved % tiny_run.trainer().save_every_n_steps == 1  # between the regular saves
    tiny_run.train(run, prepared)
    assert_same_run(run, undisturbed)


def test_training_a_finished_run_again_changes_nothing(undisturbed, prepared):
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*") if path.is_file()}
    tiny_run.train(undisturbed, prepared)
    assert {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*") if path.is_file()} == before


def copy_with_one_stage(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
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
    with pytest.raises(UserError, match="was not written by stage 2_cropped of this run"):
        tiny_run.train(run, prepared)


def test_a_damaged_chain_is_named(tmp_path):
    (tmp_path / "chain.json").write_text('{"stages": [{"stage"')
    with pytest.raises(UserError, match=r"chain\.json is damaged"):
        read_chain(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("checkpoint", None),
        ("checkpoint", 3),
        ("checkpoint", "../other/best.ckpt"),
        ("checkpoint", "/etc/passwd"),
        ("sha256", ["0"]),
        ("score", "low"),
        ("steps", True),
        ("trained_by", {}),
        ("trained_by", [None]),
        ("trained_by", [{}]),
        ("more", 1),
    ],
)
def test_impossible_handoffs_are_refused(undisturbed, tmp_path, key, value):
    chain = json.loads((undisturbed / "chain.json").read_text())
    (tmp_path / "chain.json").write_text(json.dumps(chain))
    assert len(read_chain(tmp_path)) == len(chain["stages"])
    chain["stages"][-1][key] = value
    (tmp_path / "chain.json").write_text(json.dumps(chain))
    with pytest.raises(UserError, match=r"chain\.json is damaged"):
        read_chain(tmp_path)


def test_a_loss_that_is_not_finite_stops_the_run(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.nn.CrossEntropyLoss, "forward", lambda self, logits, labels: logits.sum() * float("nan"))
    with pytest.raises(UserError, match=r"NaN or infinite in stage 1_masked_eyes, epoch 1, batch 1: check"):
        tiny_run.train(tmp_path / "run", prepared)
    assert read_chain(tmp_path / "run") == []
