"""The load benchmark on few faces, and its judgement of growth."""

import sys

import pytest
from rich.console import Console

from experiments.benchmarks import load


def test_every_step_is_measured():
    steps = load.measure(2000)
    assert "audit, with near-duplicates" in steps
    assert all(seconds > 0 and megabytes > 10 for seconds, megabytes in steps.values())


def test_quadratic_growth_fails():
    steps = {10_000: {"linear": (1.0, 50.0), "all pairs": (1.0, 50.0), "short": (0.001, 50.0)}}
    steps[100_000] = {"linear": (10.0, 80.0), "all pairs": (100.0, 80.0), "short": (0.4, 80.0)}
    assert load.show(steps, Console(quiet=True)) == ["all pairs"]
    growth = load.find_growth(steps[10_000], steps[100_000], 10)
    assert growth["all pairs"] == pytest.approx(100)
    assert load.find_growth({"x": (1, 0)}, {"x": (4, 0)}, 2)["x"] == pytest.approx(100)


def test_the_program_ends_with_status_1_if_a_step_grows_too_fast(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["load", "--rows", "500", "1000"])
    monkeypatch.setattr(load, "show", lambda measured, console: ["audit"])
    with pytest.raises(SystemExit) as ended:
        load.main()
    assert ended.value.code == 1
