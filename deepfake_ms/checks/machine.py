"""GPU, processors, memory, disk, shared memory, open files, and the folders that the commands write."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from deepfake_ms.checks.finding import FAILED, OK, WARNING, Finding, graded

GIB = 2**30
CROP_BYTES = 151_000
"""Size of a crop of 224 px on disk, see `deepfake_ms.preprocessing.crops.encode_crop`."""
LEAST_DISK, AMPLE_DISK = 1 * GIB, 20 * GIB
LEAST_MEMORY = 4 * GIB
LEAST_SHARED = 1 * GIB
"""Workers of a DataLoader pass batches through shared memory; a container has 64 MiB by default."""
LEAST_OPEN_FILES = 1024
"""Every batch that a DataLoader worker passes on is an open file."""
FOLDERS = ("corpora", "prepared", "runs")

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def check_gpu() -> Iterator[Finding]:
    """Each GPU that torch can use, tried with a matrix product."""
    import torch

    driver = _driver_version()
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    if not torch.cuda.is_available():
        if torch.backends.mps.is_available():
            yield Finding("GPU", OK, "Apple GPU (MPS): use trainer.lightning.accelerator=mps")
        elif driver:
            remedy = (
                "install the torch build that pytorch.org/get-started names for this driver; until then trainer=cpu"
            )
            yield Finding("GPU", WARNING, f"driver {driver}, but torch ({build}) cannot use it", remedy)
        else:
            yield Finding("GPU", OK, f"none; torch has {build}. Use trainer=cpu and size=small or size=lite")
        return
    for number in range(torch.cuda.device_count()):
        name = torch.cuda.get_device_name(number)
        try:
            free, total = torch.cuda.mem_get_info(number)
            ones = torch.ones(256, 256, device=f"cuda:{number}")
            works = (ones @ ones == 256).all().item()
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            remedy = "install a torch build for this GPU and driver (pytorch.org/get-started)"
            yield Finding(f"GPU {number}", FAILED, f"{name}, driver {driver}, torch with {build}: {reason}", remedy)
            continue
        found = f"{name}, {free / GIB:.0f} of {total / GIB:.0f} GiB free, driver {driver}, torch with {build}"
        yield graded(
            f"GPU {number}",
            found,
            (not works, FAILED, "a matrix product is wrong: replace the GPU or its driver"),
            (free < total / 2, WARNING, "another program uses more than half of its memory: see nvidia-smi"),
        )


def _driver_version() -> str | None:
    if not (program := shutil.which("nvidia-smi")):
        return None
    asked = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.split("\n")[0].strip() if done.returncode == 0 else None


def check_processors_and_memory() -> Iterator[Finding]:
    """Processors and memory that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("processors", OK, f"{cores} available: use workers={cores} in prepare")
    if not hasattr(os, "sysconf"):  # Windows
        return
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in map(Path, _CGROUP_LIMITS):
        limit = path.read_text().strip() if path.is_file() else "max"
        if limit.isdigit():
            total = min(total, int(limit))
    remedy = "use workers=1 and a smaller optimization.batch_size"
    yield graded("memory", f"{total / GIB:.1f} GiB", (total < LEAST_MEMORY, WARNING, remedy))


def check_disk() -> Iterator[Finding]:
    """Free space of the current folder."""
    free = shutil.disk_usage(".").free
    found = f"{free / GIB:.0f} GiB free here, room for {free // CROP_BYTES:,} crops of 224 px"
    elsewhere = "prepared_root=... and runs_root=... write to another disk"
    yield graded(
        "disk",
        found,
        (free < LEAST_DISK, FAILED, f"free some space; {elsewhere}"),
        (free < AMPLE_DISK, WARNING, f"enough for the drawn corpora, not for a real one; {elsewhere}"),
    )


def check_shared_memory() -> Iterator[Finding]:
    """/dev/shm, where it exists (Linux)."""
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return
    usage = shutil.disk_usage(folder)
    yield graded(
        "shared memory",
        f"{usage.free / GIB:.2f} of {usage.total / GIB:.2f} GiB free in /dev/shm",
        (
            usage.free < LEAST_SHARED,
            WARNING,
            "loader processes may die with a bus error: start the container with --shm-size=8g or --ipc=host, or set "
            "trainer.num_workers=0",
        ),
    )


def check_open_files() -> Iterator[Finding]:
    """The limit on open files of this process."""
    try:
        import resource
    except ImportError:  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = "no limit" if soft == resource.RLIM_INFINITY else f"{soft} allowed"
    too_few = soft != resource.RLIM_INFINITY and soft < LEAST_OPEN_FILES
    enough = LEAST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, 4 * LEAST_OPEN_FILES)
    yield graded("open files", allowed, (too_few, WARNING, f"run ulimit -n {enough} before the command"))


def check_folders() -> Iterator[Finding]:
    """Whether the commands can write their folders, each tried with a file; nothing is left behind."""
    refused = []
    for name in FOLDERS:
        folder = Path(name) if Path(name).exists() else Path()
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            refused.append(f"{name} ({error.strerror})")
    remedy = "change to a folder that you may write, or set data.root, prepared_root and runs_root to such folders"
    found = f"cannot be written: {', '.join(refused)}" if refused else f"{', '.join(FOLDERS)} can be written here"
    yield graded("folders", found, (bool(refused), FAILED, remedy))
