"""What makes lite models fast enough, and what each lever costs in AUROC: one run per lever, one after the other.

    python -m experiments.benchmarks.levers                    # draws and prepares miniature_shortcut first, if missing
    python -m experiments.benchmarks.levers --levers none epochs_5 --seeds 0 1

Run it from the repository's root while nothing else is running. Every lever changes one thing in `size=lite` and
trains the row table2_mep in its own process, with one thread. The table shows the processor time and the time by the
clock from start to scores, AUROC on the test set, and the validation AUROC after the first stage, which sees masked and
augmented faces only. Beside other work, compare processor times. It writes levers_SYNTHETIC.csv to
experiments/benchmarks/output.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean

import pandas as pd
from rich.console import Console
from rich.table import Table

from deepfake_ms.files import write_atomically
from deepfake_ms.provenance import code_version
from experiments.benchmarks.machine import describe_machine

OUTPUT = Path(__file__).resolve().parent / "output"
LIBRARIES = ("torch", "lightning", "timm")
DATA = ("data=miniature_shortcut", "split=official")
_FREEZE = "optimization.freeze=[{}]"
_STEM = "'*backbone.conv_stem','*backbone.bn1'"
LEVERS: dict[str, tuple[str, ...]] = {
    "none": (),
    "nothing_frozen": (_FREEZE.format(""),),
    "stem_frozen": (_FREEZE.format(_STEM),),
    "four_groups_frozen": (_FREEZE.format(f"{_STEM},'*backbone.blocks.[0123]'"),),
    "channels_first": ("trainer.channels_last=false",),
    "112_px": ("model.input_size=112",),
    "epochs_5": ("optimization.epochs=5",),
    "epochs_10": ("optimization.epochs=10",),
    "four_groups_kept": ("model.backbone_options.block_groups=4",),
    "from_scratch": ("model.pretrained=false", _FREEZE.format("")),
    "two_threads": (),
}
"""Name → overrides of `size=lite`; two_threads differs in the environment only."""


def train(lever: str, seed: int, folder: Path) -> dict[str, float]:
    """Train and score one run; time by the clock and of the processor in seconds, and AUROC per frame, per video and
    after the first stage.

    Raises:
        SystemExit: the run failed; its error is printed.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "2" if lever == "two_threads" else "1"}
    overrides = [*DATA, "size=lite", "experiment=table2_mep", f"seed={seed}", f"runs_root={folder}", *LEVERS[lever]]
    start, used = time.perf_counter(), _processor_seconds()
    finished = subprocess.run(
        [sys.executable, "-m", "deepfake_ms.train", *overrides], env=environment, stdout=subprocess.DEVNULL
    )
    seconds = time.perf_counter() - start
    if finished.returncode:
        raise SystemExit(f"{lever}: the run failed with exit status {finished.returncode}.")
    (scores,) = folder.glob("*/*/*/*/evaluation/test/selected/scores.json")
    metrics = json.loads(scores.read_text())["metrics"]
    curves = pd.read_csv(scores.parents[3] / "metrics.csv")
    first = curves[curves["stage"] == curves["stage"].iloc[0]]["validation/auroc"].iloc[-1]
    return {
        "seconds": seconds,
        "processor_seconds": _processor_seconds() - used,
        "auroc_frame": metrics["frame"]["auroc"],
        "auroc_video": metrics["video"]["auroc"],
        "auroc_after_first_stage": first,
    }


def _processor_seconds() -> float:
    """Used by all processes that this one has started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.levers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--levers", nargs="+", choices=[*LEVERS], default=[*LEVERS], help="default: all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="default: 0")
    options = parser.parse_args(arguments)
    console = Console(soft_wrap=True, highlight=False)
    console.print(describe_machine(LIBRARIES))
    prepared = subprocess.run([sys.executable, "-m", "deepfake_ms.prepare", *DATA[:1]], stdout=subprocess.DEVNULL)
    if prepared.returncode:
        sys.exit(prepared.returncode)
    lines = []
    for lever in options.levers:
        for seed in options.seeds:
            with tempfile.TemporaryDirectory() as folder:
                lines.append({"lever": lever, "seed": seed, **train(lever, seed, Path(folder))})
            found = pd.DataFrame(lines).assign(data="miniature_shortcut", synthetic=True, code=code_version())
            write_atomically(OUTPUT / "levers_SYNTHETIC.csv", found.to_csv(index=False))
            console.print(
                f"{lever}, seed {seed}: {lines[-1]['seconds']:.0f} s, {lines[-1]['auroc_video']:.3f} per video"
            )
    table = Table(
        "lever",
        "processor seconds",
        "seconds",
        "AUROC per frame",
        "per video",
        "after the first stage",
        title="SYNTHETIC",
    )
    for lever, of_lever in found.groupby("lever", sort=False):
        values = [mean(of_lever[name]) for name in ("auroc_frame", "auroc_video", "auroc_after_first_stage")]
        seconds = (f"{mean(of_lever[name]):.0f}" for name in ("processor_seconds", "seconds"))
        table.add_row(str(lever), *seconds, *(f"{value:.3f}" for value in values))
    console.print(table)


if __name__ == "__main__":
    main()
