"""The examples in ``docs/extending`` are built as they are printed, in a copy of the package, and run there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGES = [path for path in sorted((REPOSITORY / "docs/extending").glob("*.md")) if path.stem not in ("index", "model")]
BLOCK = re.compile(r"```(python|yaml|diff)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NAMED = re.compile(r"`([\w/]+\.(?:py|yaml))`")
"""The file of a block is the last one that the text before it names."""


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """Language, file and content of every block of the page."""
    text = page.read_text()
    found = []
    for block in BLOCK.finditer(text):
        files = NAMED.findall(text[: block.start()])
        found.append((block.group(1), files[-1], block.group(2)))
    return found


def apply(diff: str, text: str) -> str:
    """`text` with the only place changed that has the diff's old lines."""
    lines = diff.splitlines()
    old = "\n".join(line[1:] for line in lines if not line.startswith("+"))
    new = "\n".join(line[1:] for line in lines if not line.startswith("-"))
    assert text.count(old) == 1, old
    return text.replace(old, new)


@pytest.fixture(scope="module")
def extended(tmp_path_factory) -> tuple[Path, list[str]]:
    """A copy of the package with all examples, and the examples' tests."""
    folder = tmp_path_factory.mktemp("extended")
    for name in ("deepfake_ms", "conf"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", folder)
    tests = []
    for page in PAGES:
        for language, name, content in blocks(page):
            path = folder / name
            if language == "diff":
                path.write_text(apply(content, path.read_text()))
            else:
                assert not path.exists(), f"{name} would be overwritten"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content)
            if name.startswith("tests/"):
                tests.append(name)
    return folder, tests


def test_every_page_has_an_example_with_a_test():
    assert {page.stem for page in PAGES} == {"corpus", "mask", "stage", "perturbation", "metric"}
    for page in PAGES:
        kinds = {(language, name.partition("/")[0]) for language, name, _ in blocks(page)}
        assert ("python", "tests") in kinds, page


def test_the_examples_pass_their_tests(extended):
    folder, tests = extended
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    options = ["-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert re.search(r"(\d+) passed", done.stdout).group(1) == "18"


@pytest.mark.parametrize("command", [("check",), ("format", "--check", "--diff")], ids=" ".join)
def test_the_examples_have_the_style_of_the_package(extended, command):
    folder, _ = extended
    files = sorted({name for page in PAGES for language, name, _ in blocks(page) if language != "yaml"})
    ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", *files]
    done = subprocess.run(ruff, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
