"""The versions of Python and of the packages, compared with the bounds in pyproject.toml."""

import platform
import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

from deepfake_ms.checks.finding import FAILED, OK, WARNING, Finding, graded

COMPROMISED = {
    "lightning": (("2.6.2", "2.6.3"), "GHSA-w37p-236h-pfx3"),
    "pytorch-lightning": (("2.6.2", "2.6.3"), "GHSA-w37p-236h-pfx3"),
}
"""Distribution -> versions that contained malicious code, and the advisory.

Only packages that this suite or one of its dependencies imports. The payload runs when Lightning is imported, so the
versions are read from the packages' metadata.
"""

SHOWN = ("torch", "torchvision", "lightning", "timm", "numpy", "av", "opencv-python-headless", "hydra-core")
"""Packages whose versions the report's line names; the JSON has all."""

_PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def installed_version(name: str) -> str | None:
    """The version of a distribution; None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def compromised_packages() -> Iterator[Finding]:
    """A finding for each installed version that is known to be malicious."""
    for name, (versions, advisory) in COMPROMISED.items():
        if (found := installed_version(name)) in versions:
            yield Finding(
                name,
                FAILED,
                f"{found} contains malicious code that steals credentials ({advisory})",
                "do not import it; delete this environment, change all passwords, keys and tokens that this machine "
                "could read, and install lightning>=2.6.6 in a new environment",
            )


def declared() -> tuple[str, dict[str, list[str]]]:
    """The bounds of Python, and the requirements of each extra; those without an extra are under ``""``.

    They are read from pyproject.toml in a checkout, whose installed metadata may be older, else from the metadata.
    """
    if _PYPROJECT.is_file():
        project = tomllib.loads(_PYPROJECT.read_text(encoding="utf-8"))["project"]
        extras = project["optional-dependencies"]
        return project["requires-python"], {"": project["dependencies"], **extras}
    found: dict[str, list[str]] = {}
    for line in requires("deepfake_ms") or []:
        requirement, _, marker = line.partition(";")
        extra = re.search(r"""extra\s*==\s*["']([^"']+)""", marker)
        found.setdefault(extra.group(1) if extra else "", []).append(requirement.strip())
    return metadata("deepfake_ms")["Requires-Python"], found


def package_versions() -> dict[str, str | None]:
    """Python and every package that pyproject.toml names -> its version; None if it is not installed."""
    _, requirements = declared()
    names = {_name(line) for lines in requirements.values() for line in lines} - {"deepfake_ms"}
    return {"python": platform.python_version()} | {name: installed_version(name) for name in sorted(names)}


def check_python() -> Iterator[Finding]:
    """Python's version."""
    from packaging.specifiers import SpecifierSet

    bounds, _ = declared()
    found = platform.python_version()
    remedy = f"create the environment with a Python {bounds}"
    yield graded("Python", found, (not SpecifierSet(bounds).contains(found, prereleases=True), FAILED, remedy))


def check_packages() -> Iterator[Finding]:
    """The required packages, then the extras; a line of its own for each package that is missing or out of bounds."""
    _, requirements = declared()
    problems = list(_out_of_bounds(requirements[""], FAILED))
    yield from problems
    if not problems:
        shown = ", ".join(f"{name} {installed_version(name)}" for name in SHOWN)
        yield Finding("packages", OK, f"all {len(requirements[''])} within the bounds of pyproject.toml: {shown}")
    yield from _check_extras({extra: lines for extra, lines in requirements.items() if extra not in ("", "dev")})


def _check_extras(extras: Mapping[str, list[str]]) -> Iterator[Finding]:
    present = {extra: [line for line in lines if installed_version(_name(line))] for extra, lines in extras.items()}
    seen = set()
    for lines in present.values():
        yield from _out_of_bounds([line for line in lines if line not in seen], WARNING)
        seen.update(lines)
    missing = sorted(extra for extra, lines in extras.items() if len(present[extra]) < len(lines))
    found = f"{', '.join(sorted(extras.keys() - set(missing))) or 'none'} installed"
    if missing:
        found += f"; without {', '.join(missing)}"
    yield Finding("extras", OK, found)


def _out_of_bounds(lines: list[str], status: str) -> Iterator[Finding]:
    from packaging.requirements import Requirement

    for line in lines:
        requirement = Requirement(line)
        found = installed_version(requirement.name)
        if found is None:
            yield Finding(requirement.name, status, "not installed", f"pip install '{requirement}'")
        elif not requirement.specifier.contains(found, prereleases=True):
            bounds = f"{found}, but the suite needs {requirement.specifier}"
            yield Finding(requirement.name, status, bounds, f"pip install '{requirement}'")


def _name(requirement: str) -> str:
    return re.match(r"[\w.-]+", requirement).group()
