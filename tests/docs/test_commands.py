"""Every command in the README and the documentation is valid, and those that need nothing run."""

import os
import subprocess
import sys

import commands
import pytest
from commands import REPOSITORY, Block, blocks, check, check_name, inline_commands
from test_pipeline import CORPUS, DRAW, TRAIN

from deepfake_ms.datasets import find_corpus
from deepfake_ms.datasets.miniature import MiniatureSettings, draw_corpus
from deepfake_ms.preprocessing.prepare import prepare_corpus
from deepfake_ms.preprocessing.settings import PreparationSettings

BLOCKS = blocks()
HERE = frozenset({"run"})
"""What the runnable commands may need: the fixture has it."""
RUNNABLE = [block for block in BLOCKS if block.needs <= HERE]


def test_the_blocks_are_found_and_say_what_they_need():
    sys.path.insert(0, str(REPOSITORY / "docs"))
    from site_links import NEEDS

    assert len(BLOCKS) > 50
    assert set().union(*(block.needs for block in BLOCKS)) == NEEDS.keys()
    assert len(RUNNABLE) > 15
    for path in commands.documents():
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            indented = line.startswith(("    deepfake-ms ", "    make ", "    python -m "))
            assert not indented or any(
                block.path == path and block.line <= number < block.line + block.text.count("\n") + 1
                for block in BLOCKS
            ), f"{path}:{number + 1} is a command outside a block of commands"


@pytest.mark.parametrize("block", [block for block in BLOCKS if "example" not in block.needs], ids=str)
def test_every_command_is_valid(block):
    """Commands of an example that the package lacks are checked with the example, as in `test_every_model`."""
    every = list(block.commands())
    assert every
    for words in every:
        check(*words)


@pytest.mark.parametrize("words", inline_commands(), ids=" ".join)
def test_every_command_in_a_sentence_is_valid(words):
    named_only = len(words) == (3 if words[0] == "python" else 2) and words[0] in ("python", "deepfake-ms")
    (check_name if named_only else check)(*words)


@pytest.mark.parametrize(
    "command",
    [
        ["deepfake-ms", "train", "experiment=table2_wl_rf_map"],
        ["deepfake-ms", "train", "-m", "experiment=table2_base,table2_map"],
        ["deepfake-ms", "train", "optimization.epoch=3"],
        ["deepfake-ms", "evaluate", "run=x", "test_set=celebdf_v3"],
        ["deepfake-ms", "compare", "a.csv", "--levels", "frame"],
        ["deepfake-ms", "predicts", "a.mp4"],
        ["python", "-m", "experiments.report", "--tables", "2"],
        ["python", "-m", "experiments.reports"],
        ["python", "-m", "pytest", "tests/missing.py"],
        ["make", "reproduce-table3"],
        ["pip", "install", "-e", ".[everything]"],
        ["curl", "somewhere"],
    ],
    ids=" ".join,
)
def test_an_invalid_command_is_noticed(command):
    with pytest.raises((Exception, SystemExit, pytest.fail.Exception)):
        check(*command)


SHIM = f"""#!{sys.executable}
# deepfake-ms on the tiny corpus.
import os, subprocess, sys
command, *arguments = sys.argv[1:]
if command == "prepare":
    arguments = {DRAW!r} + arguments
elif command == "train":
    arguments = {list(TRAIN[1:])!r} + arguments
status = subprocess.call([sys.executable, "-m", f"deepfake_ms.{{command}}", *arguments])
sys.exit(0 if command == "predict" and status == 3 else status)  # two frames per video are too few for a decision
"""


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """A folder with the tiny corpus, prepared, two finished runs, and the environment to work in it."""
    folder = tmp_path_factory.mktemp("workshop")
    root = draw_corpus(MiniatureSettings(**CORPUS), folder / "corpora/miniature", workers=1)
    prepare_corpus(find_corpus("celebdf", root), "miniature", PreparationSettings(), folder / "prepared")
    (folder / "bin").mkdir()
    (folder / "bin/python").symlink_to(sys.executable)
    (folder / "bin/deepfake-ms").write_text(SHIM)
    (folder / "bin/deepfake-ms").chmod(0o755)
    runs = f"{folder}/runs/miniature/genconvit_ed_small"
    environment = {
        **os.environ,
        "PATH": f"{folder}/bin{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *filter(None, sys.path)]),
        "OMP_NUM_THREADS": "1",
        "BASE": f"{runs}/table2_base/seed_0",
        "MEP": f"{runs}/table2_wl_rf_mep/seed_0",
        "RUN": f"{runs}/table2_wl_rf_mep/seed_0",
    }
    for experiment in ("table2_base", "table2_wl_rf_mep"):
        run(f"deepfake-ms train experiment={experiment}", folder, environment)
    return folder, environment


def run(script: str, folder, environment) -> None:
    done = subprocess.run(
        ["bash", "-e", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, f"{script}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"


@pytest.mark.slow
@pytest.mark.timeout(700)
@pytest.mark.parametrize("block", RUNNABLE, ids=str)
def test_what_needs_nothing_runs(workshop, block: Block):
    folder, environment = workshop
    in_repository = "pytest" in block.text
    run(block.text, REPOSITORY if in_repository else folder, environment)
