"""``deepfake-ms doctor``: check the installation and the machine."""

import argparse
import json
import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from deepfake_ms.checks.codecs import check_codecs
from deepfake_ms.checks.finding import FAILED, OK, WARNING, Finding
from deepfake_ms.checks.machine import (
    check_disk,
    check_folders,
    check_gpu,
    check_open_files,
    check_processors_and_memory,
    check_shared_memory,
)
from deepfake_ms.checks.self_test import check_self
from deepfake_ms.checks.versions import check_packages, check_python, compromised_packages, package_versions
from deepfake_ms.errors import end_without_reader
from deepfake_ms.provenance import code_version

CHECKS = (
    *(check_python, check_packages, check_codecs, check_gpu, check_processors_and_memory),
    *(check_disk, check_shared_memory, check_open_files, check_folders, check_self),
)
COLOURS = {OK: "32", WARNING: "33", FAILED: "1;31"}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="deepfake-ms doctor",
        description="Check versions, codecs, GPU, memory, disk, limits and folders, then run a short self-test. One "
        "line per check: ok, warning or FAILED, with what to do. The exit status is 1 if a check failed, else 0. Where "
        "deepfake-ms itself does not start, python -m deepfake_ms.doctor does.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead, for a bug report")
    as_json = parser.parse_args().json
    try:
        failed = _report(as_json)
        sys.stdout.flush()
    except BrokenPipeError:
        end_without_reader()
    sys.exit(1 if failed else 0)


def _report(as_json: bool) -> bool:
    """Print the findings; whether a check failed."""
    findings = []
    for finding in map(_without_paths, examine()):
        findings.append(finding)
        if not as_json:
            print(_line(finding), flush=True)
    failed = [finding for finding in findings if finding.status == FAILED]
    if as_json:
        print(json.dumps(_document(findings), indent=2, ensure_ascii=False))
    else:
        warnings = sum(finding.status == WARNING for finding in findings)
        print(f"{len(failed)} failed, {warnings} warning{'s' * (warnings != 1)}, {len(findings)} checks")
    return bool(failed)


def examine(checks: Iterable[Callable[[], Iterator[Finding]]] = CHECKS) -> Iterator[Finding]:
    """The findings of all checks. A check that raises has failed.

    With a compromised package nothing else is checked, because the checks import packages.
    """
    compromised = list(compromised_packages())
    yield from compromised
    for check in () if compromised else checks:
        try:
            yield from check()
        except Exception as error:
            name = check.__name__.removeprefix("check_").replace("_", " ")
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            yield Finding(name, FAILED, reason[:300], "repair the package that the message names: pip install -e .")


def _line(finding: Finding) -> str:
    status = f"{finding.status:7}"
    if sys.stdout.isatty():
        status = f"\033[{COLOURS[finding.status]}m{status}\033[0m"
    return f"{status}  {finding.check:13}  {finding.found}{f'. {_sentence(finding.remedy)}' * bool(finding.remedy)}"


def _sentence(remedy: str) -> str:
    return f"Remedy: {remedy}."


def _document(findings: list[Finding]) -> dict:
    return {
        "code": code_version(),
        "platform": platform.platform(),
        "versions": package_versions(),
        "passed": all(finding.status != FAILED for finding in findings),
        "checks": [asdict(finding) for finding in findings],
    }


def _without_paths(finding: Finding) -> Finding:
    """The finding without the names of the user's folders, because people paste reports into issues."""
    replaced = {}
    for key, text in asdict(finding).items():
        for folder, sign in ((str(Path.cwd()), "."), (sys.prefix, "ENVIRONMENT"), (str(Path.home()), "~")):
            if folder != "/":
                text = text.replace(folder, sign)
        replaced[key] = text
    return Finding(**replaced)


if __name__ == "__main__":
    main()
