"""Latency of exported detectors: PyTorch as it is, torch.export and ONNX Runtime, side by side.

    python -m experiments.benchmarks.exporting --models genconvit_ed resnet50 vit --size full

Run it from the repository's root. Each model is built without trained weights, which do not matter for its speed, and
exported as `deepfake-ms export` does, with all preprocessing inside. The three score the same crops on one thread and
take turns; a cell is the median of the processor time per face in ms, which other programs hardly change. First,
P(fake) must agree within the tolerance of the export; the table gives the largest difference.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from omegaconf import OmegaConf
from rich.console import Console

from deepfake_ms.composition import compose
from deepfake_ms.exporting.graphs import Scores, open_onnx, open_torch, scores_of, trace, write_onnx, write_torch
from deepfake_ms.exporting.parity import measure_parity
from deepfake_ms.exporting.scorer import FaceScorer
from deepfake_ms.models import build_model
from deepfake_ms.quiet import hush
from experiments.benchmarks.machine import describe_machine
from experiments.markdown import markdown_table

LIBRARIES = ("torch", "onnxruntime", "onnx", "onnxscript", "timm")
CROP_SIZE = 224
BATCHES = (1, 32)
EAGER, EXPORTED, ONNX = "PyTorch", "torch.export", "ONNX Runtime"


def build_scorer(name: str, size: str) -> FaceScorer:
    """A model of ``conf/model`` with random weights, as it scores crops."""
    settings = OmegaConf.to_container(compose(f"model={name}", f"size={size}", "model.pretrained=false").model)
    torch.manual_seed(0)
    model = {key: value for key, value in settings.items() if key not in ("name", "architecture")}
    return FaceScorer(build_model(settings["architecture"], **model), CROP_SIZE)


def time_model(name: str, size: str, rounds: int) -> tuple[dict[str, dict[int, float]], float, FaceScorer]:
    """Seconds per face of each way at each batch size, the largest difference of P(fake), and the model."""
    scorer = build_scorer(name, size)
    faces = np.random.default_rng(0).integers(0, 256, (max(BATCHES), 3, CROP_SIZE, CROP_SIZE), np.uint8)
    eager = scores_of(scorer)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        program = trace(scorer, CROP_SIZE)
        write_torch(program, folder)
        write_onnx(program, folder)
        del program
        ways: dict[str, Scores] = {EAGER: eager, EXPORTED: open_torch(folder), ONNX: open_onnx(folder)}
        largest = max(measure_parity(way, ways[way], eager, faces[:10]) for way in (EXPORTED, ONNX))
        times: dict[str, dict[int, list[float]]] = {way: {batch: [] for batch in BATCHES} for way in ways}
        for _ in range(rounds):
            for batch in BATCHES:
                for way, score in ways.items():
                    start = time.process_time()
                    score(faces[:batch])
                    times[way][batch].append((time.process_time() - start) / batch)
    return {way: {batch: median(found[batch]) for batch in BATCHES} for way, found in times.items()}, largest, scorer


def main(arguments: list[str] | None = None) -> None:
    hush()
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.exporting",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", nargs="+", default=["genconvit_ed"], help="default: genconvit_ed")
    parser.add_argument("--size", default="lite", help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print(describe_machine(LIBRARIES))
    header = ["model", "px", *(f"{way}, batch {batch}" for batch in BATCHES for way in (EAGER, EXPORTED, ONNX))]
    header += [*(f"{EAGER} / {ONNX}, batch {batch}" for batch in BATCHES), "largest difference"]
    rows = []
    for name in options.models:
        times, largest, scorer = time_model(name, options.size, options.rounds)
        rows.append(
            [
                name,
                scorer.model.input_size,
                *(f"{times[way][batch] * 1000:.1f}" for batch in BATCHES for way in (EAGER, EXPORTED, ONNX)),
                *(f"{times[EAGER][batch] / times[ONNX][batch]:.2f}" for batch in BATCHES),
                f"{largest:.1g}",
            ]
        )
        console.print(f"{name}: {', '.join(map(str, rows[-1][1:]))}")
    console.print(markdown_table(header, rows))


if __name__ == "__main__":
    main()
