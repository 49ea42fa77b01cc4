"""Imports run one way, so that a reader can follow the data from video to report without going back."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "deepfake_ms"
LAYERS = [
    {"labels", "errors", "randomness", "files", "provenance", "quiet", "console"},
    {"manifest"},
    {"datasets", "preprocessing", "data"},
    {"models", "scoring"},
    {"training", "score_files"},
    {"evaluation"},
    {"explanation", "exporting"},
    {"prediction"},
    {"web"},
    {"assembly", "launcher"},
    {"composition"},
    {"cli", "checks"},
    {"prepare", "train", "evaluate", "explain", "predict", "export", "app", "scores", "compare", "doctor"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
ENTRY_POINTS = LAYERS[-1]


def imported_modules(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}


def parts():
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE).with_suffix("").parts
        if inside != ("__init__",):
            yield pytest.param(path, inside[0], id="/".join(inside))


@pytest.mark.parametrize(("path", "part"), list(parts()))
def test_imports_go_down(path, part):
    for module in imported_modules(path):
        if module.startswith("deepfake_ms."):
            other = module.split(".")[1]
            together = {other, part} <= {"datasets", "preprocessing"} or (part, other) == ("data", "preprocessing")
            assert other == part or RANK[other] < RANK[part] or together, module
    outside = {module.split(".")[0] for module in imported_modules(path)}
    if part in {"datasets", "preprocessing", "models", "scoring", "score_files"}:
        assert "lightning" not in outside
    if part not in {"launcher", "composition", "cli", *ENTRY_POINTS}:
        assert "hydra" not in outside
    assert "fcntl" not in _imported_on_import(path), "the package can be imported on Windows"


def _imported_on_import(path: Path) -> set[str]:
    """Modules imported at the top of the file, not inside a function."""
    body = ast.parse(path.read_text()).body
    return {alias.name for node in body if isinstance(node, ast.Import) for alias in node.names}


def test_nothing_at_the_top_but_entry_points_and_basics():
    files = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert files == {*ENTRY_POINTS, "cli", "composition", "assembly", *LAYERS[0], "manifest"}


def test_preparing_loads_neither_lightning_nor_timm():
    program = "import sys, deepfake_ms.prepare; print(sorted({'lightning', 'timm', 'torchmetrics'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"
