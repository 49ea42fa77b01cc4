"""The versions of code and libraries that produced a result."""

import hashlib
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("torch", "lightning", "timm", "torchmetrics", "albumentations", "facenet-pytorch", "av", "numpy")


def code_version() -> str:
    """The package version and, in a git checkout, the commit, with ``+changes`` if tracked files are modified."""
    package = f"deepfake_ms {version('deepfake_ms')}"
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
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


def library_versions() -> dict[str, str]:
    """The versions of Python and of the libraries that can affect results."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
