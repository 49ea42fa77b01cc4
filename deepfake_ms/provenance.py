"""The versions of code and libraries that produced a result."""

import hashlib
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

LIBRARIES = (
    *("torch", "torchvision", "lightning", "timm", "torchmetrics", "albumentations", "numpy", "opencv-python-headless"),
    *("facenet-pytorch", "av"),
)


def code_version() -> str:
    """The package version and, in a git checkout, the commit, with ``+changes`` if tracked files are modified."""
    package = f"deepfake_ms {version('deepfake_ms')}"
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        # An installed package may lie in the working tree of another project.
        tracked = subprocess.run([*git, "ls-files", "--error-unmatch", __file__], capture_output=True, timeout=20)
        if tracked.returncode:
            return package
        commit = subprocess.run([*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, timeout=20)
        changes = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return package
    if commit.returncode:
        return package
    return f"{package} ({commit.stdout.strip()}{'+changes' if changes.stdout.strip() else ''})"


def code_digest() -> str:
    """SHA-256 over the package's Python files, which identifies the code whether it is committed or not."""
    digest = hashlib.sha256()
    package = Path(__file__).parent
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def compare_libraries(recorded: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """``torch 2.13.0 -> 2.14.1`` for every version that differs."""
    names = sorted(recorded.keys() | now.keys())
    return [f"{name} {recorded.get(name)} -> {now.get(name)}" for name in names if recorded.get(name) != now.get(name)]


def library_versions() -> dict[str, str]:
    """The versions of Python and of the libraries that can affect results."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
