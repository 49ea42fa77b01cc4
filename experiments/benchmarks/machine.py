"""The machine that a benchmark runs on."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path


def describe_machine(libraries: Sequence[str]) -> str:
    """Processor, memory, load, and the versions of Python and `libraries`, in two lines."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return (
        f"{models[0] if models else platform.processor()}, {os.cpu_count()} cores, {memory:.0f} GB memory, "
        f"{platform.system()}; load before the start {os.getloadavg()[0]:.1f}\n"
        f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in libraries)
    )
