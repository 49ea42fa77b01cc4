"""Runs with stages in common: these are trained once, taken over whole, and only if everything is equal."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest
import tiny_run
from rich.console import Console

from deepfake_ms.files import link_or_copy, replacing
from deepfake_ms.training.run import Run
from deepfake_ms.training.shared_stages import adopt_stages, hash_stages, publish_stages
from deepfake_ms.training.stage_chain import read_chain
from deepfake_ms.training.trainer import decisive_settings

CONFIG = tiny_run.config()
HASHES = hash_stages(CONFIG, "1.0")


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"trainer.precision": "16-mixed"},
        {"trainer.batch_parts": 2},
        {"model.swin": "removed"},
        {"loss.class_weights.fake": 1.0},
        {"augmentation.transforms.HorizontalFlip.p": 0.4},
        {"optimization.batch_size": 8},
        {"optimization.optimizer.lr": 0.1},
        {"optimization.optimizer.name": "Adam"},
        {"optimization.schedule": {"name": "StepLR", "step_size": 1}},
        {"optimization.monitor": "validation/auroc", "optimization.mode": "max"},
        {"split.seed": 1},
        {"data.fingerprint": "def"},
        {"mask.regions.eyes.width": 1.0},
        {"curriculum.carry": "last"},
        {"curriculum.stages.0.freeze": ["backbone.conv1"]},
        {"starting_weights": {"path": "of another file"}},
    ],
    ids=str,
)
def test_what_determines_the_weights_is_in_the_hash(change):
    assert not set(hash_stages(tiny_run.config(change), "1.0")) & set(HASHES)


def test_names_of_choices_and_data_are_not():
    names = {"loss.name": "mine", "optimization.name": "x", "model.name": "y", "data.name": "moved"}
    assert hash_stages(tiny_run.config(names), "1.0") == HASHES


def test_code_and_earlier_stages_are_in_the_hash():
    assert not set(hash_stages(CONFIG, "1.1")) & set(HASHES)
    later = tiny_run.config({"curriculum.stages.1.optimization.optimizer.lr": 0.5})
    first, *others = hash_stages(later, "1.0")
    assert first == HASHES[0]
    assert not set(others) & set(HASHES)


def test_the_mask_matters_only_where_faces_are_masked():
    cropped, wider = (
        hash_stages(tiny_run.config(tiny_run.ONE_STAGE | change), "1.0")
        for change in ({}, {"mask.regions.eyes.width": 1.0})
    )
    assert cropped == wider


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    return tiny_run.write_faces(tmp_path_factory.mktemp("prepared") / "tiny")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, prepared) -> Path:
    """The folder of all runs, with one that is finished."""
    runs = tmp_path_factory.mktemp("runs")
    publish_stages(tiny_run.train(runs / "first", prepared), runs)
    return runs


@pytest.fixture
def runs(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "runs"))


def begin(folder: Path, prepared: Path, changes: dict | None = None) -> Run:
    """A run with the trainer that `tiny_run.train` records."""
    parts = {"trainer": decisive_settings(asdict(tiny_run.trainer()))}
    return tiny_run.make_run(folder, prepared, parts | (changes or {}))


def adopt(run: Run, runs: Path) -> dict[str, str]:
    return adopt_stages(run, runs, tiny_run.trainer(), Console(quiet=True))


def test_equal_stages_are_taken_over_and_only_the_rest_is_trained(runs, prepared):
    changes = {"curriculum.stages.2.optimization.optimizer.lr": 0.002}
    adopted = adopt(begin(runs / "second", prepared, changes), runs)
    assert list(adopted) == tiny_run.STAGES[:2]
    assert {Path(other).resolve() for other in adopted.values()} == {(runs / "first").resolve()}
    shutil.rmtree(runs / "first")
    tiny_run.train(runs / "second", prepared, changes)  # continues from the linked checkpoint
    assert [handoff.stage for handoff in read_chain(runs / "second")] == tiny_run.STAGES
    metrics = pd.read_csv(runs / "second" / "metrics.csv")
    assert metrics.groupby("stage", sort=False).size().tolist() == [2, 2, 2]
    assert metrics["step"].tolist() == tiny_run.STEPS


def test_the_record_of_downloaded_weights_is_taken_over_with_the_stage(runs, prepared):
    weights = {"net.in1k": "0123"}
    record = json.loads((runs / "first" / "run.json").read_text())
    (runs / "first" / "run.json").write_text(json.dumps(record | {"downloaded_weights": weights}))
    second = begin(runs / "second", prepared)
    assert list(adopt(second, runs)) == tiny_run.STAGES
    second.claim()
    assert json.loads((runs / "second" / "run.json").read_text())["downloaded_weights"] == weights
    (runs / "first" / "run.json").write_text("{")
    third = begin(runs / "third", prepared)
    assert list(adopt(third, runs)) == tiny_run.STAGES
    assert "downloaded_weights" not in third.record


def test_a_run_with_an_adopted_start_ends_like_one_of_its_own(runs, trained, prepared):
    adopt(begin(runs / "second", prepared), runs)
    chain = runs / "second" / "chain.json"
    for stage in tiny_run.STAGES[1:]:
        shutil.rmtree(runs / "second" / stage)
    entries = json.loads(chain.read_text())["stages"]
    chain.write_text(json.dumps({"stages": entries[:1]}))
    tiny_run.train(runs / "second", prepared)
    tiny_run.assert_same_weights(runs / "second", trained / "first")


def test_a_finished_run_and_another_run_take_nothing(runs, prepared):
    assert adopt(begin(runs / "first", prepared), runs) == {}
    assert adopt(begin(runs / "second", prepared, {"seed": 1}), runs) == {}
    assert not (runs / "second").exists()


def test_a_changed_checkpoint_is_not_taken_over(runs, prepared):
    path = runs / "first" / read_chain(runs / "first")[0].checkpoint
    path.write_bytes(path.read_bytes()[:-1])
    assert adopt(begin(runs / "second", prepared), runs) == {}


def test_a_stage_that_the_run_has_begun_is_not_replaced(runs, prepared):
    begun = runs / "second" / tiny_run.STAGES[1] / "last.ckpt"
    begun.parent.mkdir(parents=True)
    begun.write_bytes(b"its own")
    assert list(adopt(begin(runs / "second", prepared), runs)) == tiny_run.STAGES[:1]
    assert begun.read_bytes() == b"its own"


def test_a_kill_while_taking_over_does_no_harm(runs, prepared):
    second = begin(runs / "second", prepared)
    adopt(second, runs)
    (runs / "second" / "chain.json").unlink()
    assert list(adopt(second, runs)) == tiny_run.STAGES


def test_a_link_that_a_kill_left_behind_does_not_damage_the_other_run(runs, monkeypatch):
    """It is another name of the other run's checkpoint: copying onto it would overwrite that one."""
    first, other = (runs / "first" / stage / "best.ckpt" for stage in tiny_run.STAGES[:2])
    before, target = first.read_bytes(), runs / "third" / "best.ckpt"
    with pytest.raises(FileNotFoundError), replacing(target) as left_behind:
        pass
    left_behind.hardlink_to(first)

    def refuse(*_):
        raise OSError

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    link_or_copy(other, target)
    assert target.read_bytes() == other.read_bytes()
    assert first.read_bytes() == before
