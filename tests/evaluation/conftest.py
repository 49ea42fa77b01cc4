"""Prepared faces and a finished run."""

from pathlib import Path

import pytest
import tiny_run
from scored import finished_run

from deepfake_ms.training.run import Run


@pytest.fixture(scope="session")
def tiny_faces(tmp_path_factory) -> Path:
    """A prepared folder."""
    return tiny_run.write_faces(tmp_path_factory.mktemp("prepared") / "tiny-0123456789ab")


@pytest.fixture
def run(tmp_path, tiny_faces) -> Run:
    """A run that has finished without having learnt anything."""
    return finished_run(tmp_path / "runs" / "name" / "seed_0", tiny_faces)
