"""Fixtures of the fault tests."""

from pathlib import Path

import pytest
import tiny_run
from whole_run import FAMILIES, Workshop


@pytest.fixture(scope="session")
def faces(tmp_path_factory) -> Path:
    """Prepared faces."""
    return tiny_run.write_faces(tmp_path_factory.mktemp("faces") / "tiny")


@pytest.fixture(scope="session")
def whole(tmp_path_factory, faces) -> Path:
    """The folder of a tiny run that nobody disturbed; tests must not change it."""
    run = tmp_path_factory.mktemp("whole") / "run"
    tiny_run.train(run, faces)
    return run


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, faces) -> Workshop:
    """A run of the default family that nobody killed."""
    workshop = Workshop(tmp_path_factory.mktemp("undisturbed"), faces, FAMILIES["genconvit_ed"])
    assert workshop.start() == [0], workshop.printed
    return workshop
