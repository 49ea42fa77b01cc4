"""`trainer.lightning.fast_dev_run`: every stage is tried out, and nothing is left behind."""

from pathlib import Path

import pytest
import tiny_run

from deepfake_ms import train
from deepfake_ms.data.prepared_faces import PreparedFaces

COMMAND = (
    *("train", "data=folder", "data.root=somewhere", "split=video", "model=vit", "model.input_size=32"),
    *("curriculum=masked_cropped_masked", "optimization.batch_size=4"),
)


@pytest.fixture
def command(call, monkeypatch, tmp_path):
    faces = PreparedFaces.read(tiny_run.write_faces(tmp_path / "prepared" / "tiny"))
    monkeypatch.setattr(train, "find_faces", lambda cfg: faces)
    return lambda *overrides: call(*COMMAND, *overrides)


@pytest.mark.parametrize(("value", "steps"), [("true", 1), ("2", 2)])
def test_every_stage_trains_and_validates_and_nothing_is_kept(command, tmp_path, monkeypatch, value, steps):
    seen = []

    def watch(run, settings, console):
        chain = train_stages(run, settings, console)
        seen.extend((handoff.stage, handoff.steps) for handoff in chain)
        assert run.folder.parent == Path("runs")

    train_stages = train.train_stages
    monkeypatch.setattr(train, "train_stages", watch)
    status, printed, errors = command(f"trainer.lightning.fast_dev_run={value}")
    assert status == 0, errors
    assert seen == [("1_masked_eyes", steps), ("2_cropped", steps), ("3_masked_eyes", steps)]
    assert "stage 3/3" in printed
    assert "nothing is scored or kept" in printed
    assert list((tmp_path / "runs").iterdir()) == []


def test_nothing_is_kept_of_a_failure_either(command, tmp_path):
    wrong = "curriculum.stages.1.freeze=heart"
    status, _, errors = command("trainer.lightning.fast_dev_run=true", wrong)
    assert status == 2
    assert "no module or parameter heart" in errors
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("trainer.lightning.fast_dev_run=-1",), "Lightning rejects"),
        (("trainer.lightning.fast_dev_run=true", "optimization.epochs=2"), "too few for 3 stages"),
    ],
)
def test_what_a_run_would_refuse_is_refused(command, overrides, sentence):
    status, _, errors = command(*overrides)
    assert status == 2
    assert sentence in errors
