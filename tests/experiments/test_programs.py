"""The programs in experiments/ start as modules, and their modules are imported by their full names."""

import ast
import runpy
import subprocess
import sys

import pytest
from fake_runs import REPOSITORY

from experiments.markdown import markdown_table

EXPERIMENTS = REPOSITORY / "experiments"
MODULES = sorted(EXPERIMENTS.rglob("*.py"))
PROGRAMS = sorted(
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__main__")
    for path in MODULES
    if 'if __name__ == "__main__"' in path.read_text()
)


def test_every_program_is_described():
    described = (EXPERIMENTS / "__init__.py").read_text()
    assert len(PROGRAMS) == 24
    assert all(f"python -m {name}" in described for name in PROGRAMS)


@pytest.mark.filterwarnings("ignore:'experiments.* found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("name", PROGRAMS)
def test_program_prints_its_help(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    assert not ended.value.code
    printed = capsys.readouterr().out
    assert printed.startswith("usage: ")
    assert f"python -m {name}" in printed


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_program_starts_as_a_module(name):
    command = [sys.executable, "-m", name, "--help"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(EXPERIMENTS).as_posix())
def test_no_module_imports_a_sibling_without_the_package(path):
    assert (path.parent / "__init__.py").is_file()
    siblings = {each.stem for each in EXPERIMENTS.rglob("*.py")} | {each.name for each in EXPERIMENTS.iterdir()}
    siblings -= {"wandb"}  # the library
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import of {node.module}"
        names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        assert not siblings & {name.split(".")[0] for name in names}
        assert "sys.path" not in ast.unparse(node)


def test_markdown_cells_keep_the_table_in_order():
    table = markdown_table(["row", "value"], [["a", "1\n2"], ["b|c", 3]])
    assert table.splitlines() == ["| row | value |", "| --- | --- |", "| a | 1<br>2 |", r"| b\|c | 3 |"]
    with pytest.raises(ValueError, match="1 cells in a table of 2 columns"):
        markdown_table(["row", "value"], [["a"]])
