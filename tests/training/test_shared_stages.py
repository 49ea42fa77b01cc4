"""Runs that have stages in common: trained once, taken over whole, and only if all is the same."""

import copy
import shutil
from pathlib import Path

import pandas as pd
import pytest
import tiny_run

from deepfake_ms.training.shared_stages import adopt_stages, name_stages, publish_stages
from deepfake_ms.training.stage_chain import load_weights, read_chain

CONFIG = {
    "split": {"policy": "identity", "seed": 0},
    "seed": 0,
    "precision": "32-true",
    "model": {"name": "small", "architecture": "genconvit_ed", "swin": "live"},
    "loss": {"name": "weighted", "class_weights": {"real": 1.0, "fake": 1.85}},
    "augmentation": {"name": "none"},
    "optimization": {"name": "small", "epochs": 6, "batch_size": 4},
    "eye_mask": {"width": 0.9},
    "curriculum": {"name": "masked_cropped_masked"},
    "data": {"name": "miniature", "fingerprint": "abc"},
}
NAMES = name_stages(CONFIG, tiny_run.CURRICULUM, "1.0")


def named(change=None, code="1.0", curriculum=tiny_run.CURRICULUM):
    config = copy.deepcopy(CONFIG)
    for key, value in (change or {}).items():
        config[key].update(value) if isinstance(value, dict) else config.update({key: value})
    return name_stages(config, curriculum, code)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"precision": "16-mixed"},
        {"model": {"swin": "removed"}},
        {"loss": {"class_weights": {"real": 1.0, "fake": 1.0}}},
        {"augmentation": {"name": "standard"}},
        {"optimization": {"batch_size": 8}},
        {"split": {"seed": 1}},
        {"data": {"fingerprint": "def"}},
        {"eye_mask": {"width": 1.0}},
        {"starting_weights": "of another file"},
    ],
)
def test_what_decides_about_weights_is_in_the_name(change):
    assert not set(named(change)) & set(NAMES)


def test_names_of_groups_and_data_are_not():
    assert named({"loss": {"name": "mine"}, "optimization": {"name": "x"}, "data": {"name": "moved"}}) == NAMES


def test_code_and_the_stages_before_are_in_the_name():
    assert not set(named(code="1.1")) & set(NAMES)
    without_first = type(tiny_run.CURRICULUM)(tiny_run.CURRICULUM.stages[1:], "best", "validation/loss", "min")
    assert not set(named(curriculum=without_first)) & set(NAMES)


def test_the_eye_mask_matters_only_where_eyes_are_masked():
    cropped = type(tiny_run.CURRICULUM)(tiny_run.CURRICULUM.stages[1:2], "best", "validation/loss", "min")
    assert named({"eye_mask": {"width": 1.0}}, curriculum=cropped) == named(curriculum=cropped)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    return tiny_run.write_faces(tmp_path_factory.mktemp("prepared") / "tiny")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, prepared) -> Path:
    """The folder of all runs, with one finished."""
    runs = tmp_path_factory.mktemp("runs")
    tiny_run.train(runs / "first", prepared)
    publish_stages(runs / "first", runs, NAMES)
    return runs


@pytest.fixture
def runs(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "runs"))


def test_equal_stages_are_taken_over_and_only_the_rest_is_trained(runs, prepared):
    second = runs / "second"
    adopted = adopt_stages(second, runs, [*NAMES[:2], "another"])
    assert list(adopted) == [stage.name for stage in tiny_run.CURRICULUM.stages[:2]]
    assert {Path(other).resolve() for other in adopted.values()} == {(runs / "first").resolve()}
    shutil.rmtree(runs / "first")
    tiny_run.train(second, prepared)  # continues from the linked checkpoint
    chain = read_chain(second)
    assert [handoff.stage for handoff in chain] == [stage.name for stage in tiny_run.CURRICULUM.stages]
    metrics = pd.read_csv(second / "metrics.csv")
    assert metrics.groupby("stage", sort=False).size().tolist() == [
        stage.epochs for stage in tiny_run.CURRICULUM.stages
    ]
    assert metrics["step"].is_monotonic_increasing


def test_a_run_with_an_adopted_start_ends_like_one_of_its_own(runs, trained, prepared):
    adopt_stages(runs / "second", runs, NAMES[:1])
    tiny_run.train(runs / "second", prepared)
    for ours, theirs in zip(read_chain(runs / "second"), read_chain(trained / "first"), strict=True):
        one = load_weights(runs / "second" / ours.checkpoint)
        other = load_weights(trained / "first" / theirs.checkpoint)
        assert all(one[name].equal(other[name]) for name in other)


def test_a_finished_run_and_unknown_stages_take_nothing(runs):
    assert adopt_stages(runs / "first", runs, NAMES) == {}
    assert adopt_stages(runs / "second", runs, ["unknown", *NAMES[1:]]) == {}
    assert not (runs / "second").exists()


def test_a_changed_checkpoint_is_not_taken_over(runs):
    path = runs / "first" / read_chain(runs / "first")[0].checkpoint
    path.write_bytes(path.read_bytes()[:-1])
    assert adopt_stages(runs / "second", runs, NAMES) == {}


def test_a_stage_that_the_run_has_begun_is_left_to_it(runs):
    begun = runs / "second" / tiny_run.CURRICULUM.stages[1].name / "last.ckpt"
    begun.parent.mkdir(parents=True)
    begun.write_bytes(b"its own")
    assert list(adopt_stages(runs / "second", runs, NAMES)) == [tiny_run.CURRICULUM.stages[0].name]
    assert begun.read_bytes() == b"its own"


def test_being_killed_while_taking_over_does_no_harm(runs, prepared):
    adopt_stages(runs / "second", runs, NAMES)
    (runs / "second" / "chain.json").unlink()
    assert len(adopt_stages(runs / "second", runs, NAMES)) == len(NAMES)
