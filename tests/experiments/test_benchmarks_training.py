"""The training benchmark on few faces: that it measures what it claims, not its times."""

from dataclasses import replace

import pytest
import torch

from experiments.benchmarks import timed_loops, training


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """Two rounds, one of them counted, of one step on two faces."""
    prepared = training.draw_faces(tmp_path_factory.mktemp("drawn"), count=12)
    return training.Plan(prepared, "genconvit_ed", "small", "none", batch_size=2, steps=1, rounds=1)


@pytest.mark.parametrize("switch", ["none", "channels_last", "accumulate_grad_batches", "bf16-mixed"])
def test_every_loop_is_timed(plan, switch):
    measured = training.measure(replace(plan, switch=switch), torch.get_num_threads())
    assert [len(values) for values in (measured.real, measured.bare, measured.two_passes)] == [1, 1, 1]
    assert min(measured.real + measured.bare + measured.two_passes) > 0
    assert measured.input_size == 112
    assert measured.peak_bytes > 0
    assert len(measured.saves_s) == 2
    assert min(measured.saves_s) > 0


@pytest.mark.parametrize("switch", ["none", "accumulate_grad_batches"])
def test_the_bare_loops_compute_whole_steps(plan, switch, monkeypatch):
    sizes = []
    bare = timed_loops.bare

    def count(detector, batch):
        sizes.append(len(batch["label"]))
        return bare(detector, batch)

    monkeypatch.setattr(timed_loops, "bare", count)
    training.measure(replace(plan, switch=switch), torch.get_num_threads())
    assert set(sizes) == {plan.batch_size}


def test_refuses_to_time_another_function(plan, monkeypatch):
    theirs = timed_loops.logits_of_two_passes
    monkeypatch.setattr(timed_loops, "logits_of_two_passes", lambda model, image: theirs(model, image) + 1)
    with pytest.raises(SystemExit, match="nothing is timed"):
        training.measure(plan, torch.get_num_threads())


def test_too_few_faces_are_reported(plan):
    with pytest.raises(SystemExit, match="faces of a class"):
        training.measure(replace(plan, rounds=9), torch.get_num_threads())


def test_ratios_compare_blocks_of_one_round():
    assert training.ratio([1.0, 4.0, 3.0], [1.0, 2.0, 1.0]) == "2.000 (1.00 to 3.00)"
