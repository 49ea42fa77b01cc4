"""A report that several tests read."""

import pytest
from fake_runs import make_run, run_report


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """base with both seeds, WL only with seed 0, MEP unfinished with seed 1, and the report on them."""
    root = tmp_path_factory.mktemp("report")
    runs = root / "runs" / "drawn" / "tiny"
    for seed in (0, 1):
        make_run(runs, "base", seed)
    make_run(runs, "wl", 0, skill=2.0)
    make_run(runs, "mep", 0, stages=3)
    make_run(runs, "mep", 1, stages=3, done=1)
    run_report(runs, root / "output")
    return root


@pytest.fixture(scope="session")
def page(written):
    return (written / "output" / "table2_SYNTHETIC.html").read_text()
