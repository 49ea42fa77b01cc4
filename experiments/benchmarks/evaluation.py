"""Cost of evaluating a run on many test sets, relative to reading the faces and bare forward passes.

    python -m experiments.benchmarks.evaluation --run runs/miniature_shortcut/genconvit_ed_lite/table2_rf/seed_0

Run it from the repository's root. A copy of the run is scored on the same faces, those of its training corpus, under
ten names: predictions, scores at all thresholds, temperature scaling, groups of fakes with intervals, audit against the
training faces, files. The comparison reads the same batches of the same faces and passes them through the network. Both
alternate, on one thread; times are those of the processor. The goal is a ratio of at most 1.1.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import torch
from rich.console import Console

from deepfake_ms.assembly import trainer_settings
from deepfake_ms.composition import compose
from deepfake_ms.data.loaders import evaluation_loader
from deepfake_ms.evaluation.predictions import SELECTED, Checkpoint
from deepfake_ms.evaluation.scores import evaluate
from deepfake_ms.evaluation.test_set import ALL, TestSet
from deepfake_ms.quiet import hush
from deepfake_ms.training.run import Run
from deepfake_ms.training.stage_chain import load_weights
from deepfake_ms.training.trainer import TrainerSettings
from experiments.benchmarks.machine import describe_machine

LIBRARIES = ("torch", "lightning", "timm")


def seconds(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def forward(run: Run, test_sets: Sequence[TestSet]) -> None:
    """Read all faces and pass them through the selected checkpoint, which is loaded once."""
    stage = run.curriculum.stages[-1]
    detector = run.detector(stage, from_scratch=False)
    detector.load_state_dict(load_weights(Checkpoint.of(run, SELECTED).path))
    detector.eval()
    with torch.inference_mode():
        for test_set in test_sets:
            for batch in evaluation_loader(test_set.dataset(detector.model.input_size), stage.batch_size, 0):
                detector(detector.on_after_batch_transfer(batch, 0)["image"])


def evaluate_all(run: Run, test_sets: Sequence[TestSet], settings: TrainerSettings) -> None:
    for test_set in test_sets:
        evaluate(run, test_set, settings, Console(quiet=True))


def main(arguments: list[str] | None = None) -> None:
    hush()
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.evaluation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished run")
    parser.add_argument("--prepared-root", type=Path, default=Path("prepared"), help="default: %(default)s")
    parser.add_argument("--test-sets", type=int, default=10, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    console = Console(soft_wrap=True, highlight=False)
    console.print(describe_machine(LIBRARIES))
    settings = trainer_settings(compose("run=.", config_name="evaluate"))
    bare, ours, faces = [], [], 0
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            run = Run.open(Path(shutil.copytree(options.run, Path(folder) / "run")), None, options.prepared_root)
            shutil.rmtree(run.folder / "evaluation")
            evaluate(run, TestSet.of_run(run, "validation"), settings, Console(quiet=True))
            test_sets = [TestSet.of_corpus(f"set_{number}", run.faces, ALL) for number in range(options.test_sets)]
            bare.append(seconds(partial(forward, run, test_sets)))
            ours.append(seconds(partial(evaluate_all, run, test_sets, settings)))
            faces = sum(len(each.rows) for each in test_sets)
    ratio = median(one / other for one, other in zip(ours, bare, strict=True))
    console.print(
        f"{options.test_sets} test sets, {faces:,} faces: evaluated in {median(ours):.1f} s, read and "
        f"passed through the network in {median(bare):.1f} s; ratio {ratio:.2f}"
    )


if __name__ == "__main__":
    main()
