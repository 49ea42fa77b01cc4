"""Fixtures that several tests share."""

import importlib
import logging
import os
import signal
import sys
from pathlib import Path

import pytest
import reliability
import torch
from hydra.core.global_hydra import GlobalHydra
from reliability import (  # noqa: F401 hooks of pytest
    pytest_configure,
    pytest_itemcollected,
    pytest_runtest_logreport,
    pytest_sessionfinish,
)

signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it, and what tests start would too
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
torch.set_num_threads(1)


def pytest_addoption(parser):
    reliability.pytest_addoption(parser)
    parser.addoption("--accelerator", choices=("gpu", "cpu"), default="gpu", help="device of the tests marked gpu")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The workplace's folder of real samples and parity fixtures; tests that need it are skipped elsewhere."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("needs the workplace's shared folder")
    return folder


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Calls an entry point as the command line would, in the test's own folder."""

    monkeypatch.chdir(tmp_path)

    def run(module: str, *arguments: str) -> tuple[int, str, str]:
        """Exit status, standard output and standard error."""
        monkeypatch.setattr(sys, "argv", [f"deepfake_ms/{module}.py", *arguments])
        monkeypatch.setenv("COLUMNS", "300")
        try:
            importlib.import_module(f"deepfake_ms.{module}").main()
            status = 0
        except SystemExit as stop:
            status = stop.code or 0
        GlobalHydra.instance().clear()
        # Hydra's handlers keep the streams of this call, which are closed by the next one.
        for logger in (logging.getLogger(), *map(logging.getLogger, list(logging.root.manager.loggerDict))):
            for handler in [each for each in logger.handlers if type(each) is logging.StreamHandler]:
                logger.removeHandler(handler)
        return (status, *capsys.readouterr())

    return run
