"""Fixtures that several tests share."""

import os
from pathlib import Path

import pytest
import torch

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The workplace's folder of real samples and parity fixtures; tests that need it are skipped elsewhere."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("needs the workplace's shared folder")
    return folder
