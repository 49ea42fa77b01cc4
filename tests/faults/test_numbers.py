"""Losses that are NaN or infinite, and results that must not depend on loader processes or ranks."""

import json
from pathlib import Path

import pandas as pd
import pytest
import tiny_run
import torch
from tiny_run import STAGES, train_on_two
from whole_run import FAMILIES, Workshop

from deepfake_ms.errors import UserError
from deepfake_ms.training.checkpoint_files import read_checkpoint
from deepfake_ms.training.loss_watch import NAME, Batch, LossWatch


class Spoil(tiny_run.Callback):
    """Makes the weights of one rank NaN before a step, so that its loss is not finite."""

    def __init__(self, step: int, value: float, rank: int = 0):
        self.step, self.value, self.rank, self.rows = step, value, rank, []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if trainer.global_step == self.step and trainer.global_rank == self.rank:
            self.rows = batch["index"].tolist()
            with torch.no_grad():
                next(pl_module.model.parameters()).fill_(self.value)


@pytest.mark.fault("Numbers", "NaN or infinite loss in one process")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("step", [0, 3])
def test_the_training_stops_in_the_same_step_and_names_the_faces(faces, tmp_path, step, value):
    run, spoil = tmp_path / "run", Spoil(step, value)
    with pytest.raises(UserError, match=rf"NaN or infinite in stage {STAGES[0]}, epoch 1, batch {step + 1}: check"):
        tiny_run.train(run, faces, switches={"extra": (spoil,)})
    found = json.loads((run / NAME).read_text())
    assert found["stage"] == STAGES[0]
    assert found["batches"] == [
        {"epoch": 1, "batch": step + 1, "rank": 0, "sample_ids": [f"{row:03d}" for row in spoil.rows]}
    ]
    saved = run / STAGES[0] / "last.ckpt"
    if step == 0:
        assert not saved.exists()
    else:
        content = read_checkpoint(saved)
        assert content["global_step"] == 2
        assert all(torch.isfinite(each).all() for each in content["state_dict"].values() if each.is_floating_point())


def spoil_rank_1(run: Path, faces: Path) -> list[int]:
    return train_on_two(run, faces, switches={"extra": (Spoil(3, float("nan"), rank=1),)})


@pytest.mark.fault("Numbers", "NaN loss in one of two processes")
def test_all_ranks_stop_after_the_same_step(faces, tmp_path):
    run = tmp_path / "run"
    assert spoil_rank_1(run, faces) == [1, 1]
    (batch,) = json.loads((run / NAME).read_text())["batches"]
    assert (batch["rank"], batch["epoch"], batch["batch"]) == (1, 1, 4)
    assert read_checkpoint(run / STAGES[0] / "last.ckpt")["global_step"] == 2


def test_the_command_ends_with_status_2(faces, tmp_path, monkeypatch, call):
    """With one real step that makes the weights infinite: the learning rate is far too high."""
    arguments = ("data=celebdf_v2", "split=video", "size=small", f"prepared={faces}", "model.input_size=32")
    status, _, errors = call(
        "train", *arguments, "optimization.epochs=3", "optimization.optimizer.lr=1e30", "optimization.batch_size=4"
    )
    assert status == 2
    assert "The training loss was NaN or infinite" in errors
    assert list(tmp_path.rglob(NAME))


def test_several_bad_batches_are_found_in_order():
    watch = LossWatch()
    batches = [Batch(0, number, torch.tensor([number])) for number in range(4)]
    for batch, loss in zip(batches, (1.0, float("nan"), 2.0, float("inf")), strict=True):
        watch.note(torch.tensor(loss), batch)
    assert watch.first_bad() is batches[1]
    assert watch.first_bad() is batches[3]
    assert watch.first_bad(wait=True) is None


@pytest.mark.slow
@pytest.mark.fault("Numbers", "other numbers of loader processes: same weights and scores")
@pytest.mark.parametrize("workers", [1, 4])
def test_loader_processes_change_nothing(undisturbed, faces, tmp_path, workers):
    workshop = Workshop(tmp_path, faces, FAMILIES["genconvit_ed"])
    assert workshop.start(more=[f"trainer.num_workers={workers}"]) == [0], workshop.printed
    ours, theirs = (
        pd.read_parquet(each.run / "evaluation/test/selected/predictions.parquet") for each in (workshop, undisturbed)
    )
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    tiny_run.assert_same_weights(workshop.run, undisturbed.run)


@pytest.mark.slow
@pytest.mark.fault("Numbers", "two ranks on odd sizes: metrics of one")
def test_two_ranks_measure_like_one(faces, tmp_path):
    """Same weights, 11 validation faces: every metric of validation is that of one process."""
    changes = tiny_run.VIT | tiny_run.ONE_STAGE
    tiny_run.train(tmp_path / "one", faces, changes)
    assert train_on_two(tmp_path / "two", faces, changes) == [0, 0]
    one, two = (pd.read_csv(tmp_path / name / "metrics.csv") for name in ("one", "two"))
    pd.testing.assert_frame_equal(one, two, rtol=1e-4, atol=1e-6)
    tiny_run.assert_same_weights(tmp_path / "two", tmp_path / "one", rtol=1e-4, atol=1e-5)
