"""Counts the faults that tests have tried and survived, and writes RELIABILITY.md: ``pytest --reliability=FILE``.

Tests with ``@pytest.mark.fault(group, what)`` count as one fault each, or as many as they record with
``record_property("tried", N)`` and ``record_property("survived", N)``.
"""

import os
import platform
import time
from collections import defaultdict
from datetime import timedelta
from pathlib import Path

import pytest

from deepfake_ms.provenance import code_version, library_versions

_counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
_began = time.monotonic()


def pytest_addoption(parser):
    parser.addoption("--reliability", type=Path, metavar="FILE", help="write the counts of fault tests to FILE")


def pytest_configure(config):
    config.stash[_FILE] = config.getoption("--reliability")


_FILE = pytest.StashKey[Path | None]()


def pytest_itemcollected(item):
    if marker := item.get_closest_marker("fault"):
        item.user_properties.append(("fault", list(marker.args)))  # reports of other processes carry no markers


def pytest_runtest_logreport(report):
    properties = dict(report.user_properties)
    if "fault" not in properties or report.skipped or (report.when != "call" and report.passed):
        return
    tried = properties.get("tried", 1) if report.when == "call" else 1
    counts = _counts[tuple(properties["fault"])]
    counts[0] += tried
    counts[1] += min(properties.get("survived", tried), tried) if report.passed else 0


def pytest_sessionfinish(session):
    path = session.config.stash[_FILE]
    if path is None or hasattr(session.config, "workerinput"):
        return
    rows = [
        f"| {group} | {what} | {tried:,} | {survived:,} |"
        for (group, what), (tried, survived) in sorted(_counts.items())
    ]
    tried, survived = (sum(counts[place] for counts in _counts.values()) for place in (0, 1))
    versions = library_versions()
    libraries = ", ".join(f"{name} {versions[name]}" for name in ("torch", "lightning") if name in versions)
    lines = [
        "# Reliability",
        "",
        "Written by `make reliability`, which runs every test that is marked as a fault. *Tried* is the number of "
        "faults that the run caused, *survived* the number after which everything was as the test demands.",
        "",
        f"{code_version()}; {libraries}; Python {platform.python_version()}; {platform.system()}, {os.cpu_count()} CPU "
        f"cores; {timedelta(seconds=round(time.monotonic() - _began))} h.",
        "",
        "| kind | fault | tried | survived |",
        "|---|---|---:|---:|",
        *rows,
        f"| | **all** | **{tried:,}** | **{survived:,}** |",
    ]
    path.write_text("\n".join(lines) + "\n")
