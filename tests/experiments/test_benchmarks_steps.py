"""The benchmark of single steps, with and without what makes them faster."""

import pytest

from experiments.benchmarks import steps


@pytest.mark.slow
def test_every_variant_is_timed(capsys):
    steps.main(["--size", "small", "--rounds", "1", "--steps", "1", "--batch-size", "2"])
    printed = capsys.readouterr().out
    assert "genconvit_ed, small, batch 2" in printed
    assert "all savings" in printed
    assert printed.count("without") >= len(steps.VARIANTS) - 1
