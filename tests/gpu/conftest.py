"""Where the tests marked `gpu` run: on a GPU, or with ``--accelerator cpu`` on the CPU, to test the tests."""

import pytest
import torch
from tiny_run import write_faces


@pytest.fixture(scope="session")
def accelerator(request) -> str:
    chosen = request.config.getoption("--accelerator")
    if chosen == "gpu" and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    return chosen


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    return write_faces(tmp_path_factory.mktemp("faces") / "prepared")


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
