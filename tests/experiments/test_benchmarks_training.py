"""The training benchmark in small: that it measures what it says, not how fast."""

import importlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[1] / "experiments" / "benchmarks"


@pytest.fixture(scope="module")
def training():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield importlib.import_module("training")


@pytest.fixture(scope="module")
def plan(training, tmp_path_factory):
    """Two rounds (one of them counted) of one step on two faces."""
    prepared = training.draw_faces(tmp_path_factory.mktemp("drawn"), count=12)
    return training.Plan(prepared, "genconvit_ed_small", "none", batch_size=2, steps=1, rounds=1)


@pytest.mark.parametrize("switch", ["none", "channels_last", "micro_batches", "bf16-mixed"])
def test_every_way_takes_its_turn(training, plan, switch):
    threads = torch.get_num_threads()
    measured = training.measure(replace(plan, switch=switch), threads)
    assert [len(values) for values in (measured.real, measured.bare, measured.two_passes)] == [1, 1, 1]
    assert min(measured.real + measured.bare + measured.two_passes) > 0
    assert measured.input_size == 112
    assert measured.peak_bytes > 0
    assert measured.save_s > 0


def test_refuses_to_time_another_function(training, plan, monkeypatch):
    theirs = training.logits_of_two_passes
    monkeypatch.setattr(training, "logits_of_two_passes", lambda model, image: theirs(model, image) + 1)
    with pytest.raises(SystemExit, match="nothing is timed"):
        training.measure(plan, torch.get_num_threads())


def test_too_few_faces_are_named(training, plan):
    with pytest.raises(SystemExit, match="faces of a class"):
        training.measure(replace(plan, rounds=9), torch.get_num_threads())


def test_ratios_are_of_one_round_each(training):
    assert training.ratio([1.0, 4.0, 3.0], [1.0, 2.0, 1.0]) == "2.000 (1.00 to 3.00)"
