"""Checks training and scoring on this machine's GPU in a few minutes, and prints a table at the end.

    make gpu-check                                    # at most seven minutes on one GPU
    python -m experiments.gpu_check --accelerator cpu # the same steps with small models, to test the check itself

The steps: the tests marked `gpu`; the training benchmark of the full GenConViT-ED at batch 32 in bf16, with and without
CUDA graphs; and a run of three stages of the paper's best row, on drawn faces (SYNTHETIC), which is scored. Each step
prints as it goes and is stopped at its time limit. Exit status 1 if a step failed.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

CORPUS = ("data=miniature", "+data.draw.identities=16", "+data.draw.fakes=60", "+data.draw.youtube_people=8")


@dataclass(frozen=True)
class Step:
    """A command of the check, and its time limit on a GPU."""

    title: str
    module: str
    arguments: tuple[str, ...]
    limit_s: int


def steps(accelerator: str, folder: Path) -> list[Step]:
    """The commands for ``gpu``, or for ``cpu`` with small models; what they write is in `folder`."""
    on_gpu = accelerator == "gpu"
    size = "full" if on_gpu else "small"
    tests = ("-n", "4") if on_gpu else ("-k", "interrupted and 32 or scores or genconvit_ed")
    length = ("--batch-size", "32", "--steps", "8") if on_gpu else ("--batch-size", "4", "--steps", "2")
    fast = "reduce-overhead" if on_gpu else "channels_last"
    folders = (f"data.root={folder}/corpus", f"prepared_root={folder}/prepared", f"hydra.run.dir={folder}/hydra")
    chosen = ("experiment=table2_wl_rf_mep", f"size={size}", f"trainer={accelerator}")
    short = ("optimization.epochs=6", "model.pretrained=false", f"runs_root={folder}/runs")
    model = ("--trainer", accelerator, "--models", "genconvit_ed", "--size", size, "--rounds", "3")
    benchmark = "experiments.benchmarks.training"
    return [
        Step("tests", "pytest", ("-m", "gpu", "-v", "--accelerator", accelerator, "tests/gpu", *tests), 190),
        Step("training benchmark", benchmark, (*model, *length, "--switches", fast), 130),
        Step("prepare", "deepfake_ms.prepare", (*CORPUS, *folders), 40),
        Step("three stages", "deepfake_ms.train", (*CORPUS, *folders, *chosen, *short), 60),
    ]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.gpu_check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--accelerator", choices=("gpu", "cpu"), default="gpu", help="default: %(default)s")
    options = parser.parse_args(arguments)
    console = Console(soft_wrap=True, highlight=False)
    if options.accelerator == "gpu" and not torch.cuda.is_available():
        raise SystemExit("torch finds no GPU here: install a CUDA build of torch and a driver, then try again.")
    device = torch.cuda.get_device_name() if options.accelerator == "gpu" else "CPU"
    table = Table("step", "result", "seconds", title=f"{device}, torch {torch.__version__}")
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for step in steps(options.accelerator, Path(folder)):
            console.rule(step.title)
            begun = time.monotonic()
            command = [sys.executable, "-u", "-m", step.module, *step.arguments]
            try:
                limit = step.limit_s if options.accelerator == "gpu" else None
                code = subprocess.run(command, timeout=limit).returncode
                result = "ok" if code == 0 else f"failed (exit status {code})"
            except subprocess.TimeoutExpired:
                result = f"stopped after {step.limit_s} s"
            failed |= result != "ok"
            table.add_row(step.title, result, f"{time.monotonic() - begun:.0f}")
    console.print(table)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
