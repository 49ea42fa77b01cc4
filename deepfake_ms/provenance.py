"""What a number rests on: the code that made it."""

import hashlib
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("torch", "lightning", "timm", "torchmetrics", "albumentations", "facenet-pytorch", "av", "numpy")


def code_version() -> str:
    """The package version, and in a git checkout its commit, with ``+changes`` when tracked files differ from it."""
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
    """Sha256 over the package's Python files: equal digests, equal code, whether committed or not."""
    digest = hashlib.sha256()
    package = Path(__file__).parent
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def library_versions() -> dict[str, str]:
    """The versions of Python and of the libraries that decide about numbers."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
