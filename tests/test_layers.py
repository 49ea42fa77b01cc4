"""Imports run one way, so that a reader can follow video to report without going back."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "deepfake_ms"
LAYERS = [
    {"labels", "errors", "randomness", "files", "provenance", "noise"},
    {"manifest"},
    {"datasets", "preprocessing", "data"},
    {"models"},
    {"losses", "metrics"},
    {"detector", "statistics"},
    {"curriculum"},
    {"run_folder", "stage_chain", "loggers", "progress"},
    {"training", "run_split", "shared_stages", "wandb_run"},
    {"assembly"},
    {"evaluation", "contact_sheet"},
    {"launcher"},
    {"cli"},
    {"prepare", "train", "evaluate", "explain"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


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
            assert other == part or RANK[other] < RANK[part] or {other, part} <= {"datasets", "preprocessing"}, module
    outside = {module.split(".")[0] for module in imported_modules(path)}
    if part in {"datasets", "preprocessing", "models"}:
        assert "lightning" not in outside
    if part not in {"launcher", "cli", "prepare", "train", "evaluate", "explain"}:
        assert "hydra" not in outside
