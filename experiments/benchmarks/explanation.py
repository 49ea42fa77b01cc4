"""Cost of attributions per face, relative to one forward and backward pass of the same detector on the same faces.

    python -m experiments.benchmarks.explanation
    python -m experiments.benchmarks.explanation --models genconvit_ed resnet50 --size full --batch-size 4

Run it from the repository's root. Times are those of the processor, of all threads. For each model, every method, over
all views of the model (GenConViT has two, the ensemble four), alternates with one forward and backward pass of the
whole model (log-odds of the class fake, gradients of the trained parameters), whose time per face is shown. The other
columns are medians of the ratios; the goal is at most 4 for methods based on gradients or attention. Weights and images
are random, which does not affect the time.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from deepfake_ms.composition import compose
from deepfake_ms.explanation import METHODS
from deepfake_ms.explanation.attribution import attribute, log_odds
from deepfake_ms.explanation.maps import views_to_explain
from deepfake_ms.explanation.views import View, views_of
from deepfake_ms.labels import FAKE
from deepfake_ms.models import DetectionModel, build_model
from experiments.benchmarks.machine import describe_machine

LIBRARIES = ("torch", "timm", "grad-cam", "captum")
MODELS = ("genconvit_ed", "genconvit", "efficientnet_b7", "caddm", "linear_probe")


def seconds(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def forward_and_backward(model: DetectionModel, image: torch.Tensor, classes: torch.Tensor) -> None:
    model.zero_grad()
    log_odds(model(image), classes).sum().backward()


def attribute_all(views: list[View], image: torch.Tensor, classes: torch.Tensor, method: str) -> None:
    for view in views:
        attribute(view, image, classes, method)


def build(name: str, size: str) -> DetectionModel:
    """The model with random weights, ready to train."""
    values = OmegaConf.to_container(compose(f"model={name}", f"size={size}").model)
    del values["name"]
    return build_model(values.pop("architecture"), **values | {"pretrained": False})


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.explanation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", nargs="+", default=MODELS, help=f"default: {' '.join(MODELS)}")
    parser.add_argument("--size", choices=("full", "lite", "small"), default="lite", help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=16, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: torch's")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    console = Console(soft_wrap=True, highlight=False)
    console.print(describe_machine(LIBRARIES))
    table = Table("model", "views", "ms per face", *METHODS)
    for name in options.models:
        model = build(name, options.size).eval()
        image = torch.randn(options.batch_size, 3, model.input_size, model.input_size)
        classes = torch.full((options.batch_size,), FAKE)
        passes, cells = [], []
        for method in METHODS:
            views = views_to_explain(model, method)
            ratios = []
            for _ in range((1 if method == "lime" else options.rounds) if views else 0):
                passes.append(seconds(partial(forward_and_backward, model, image, classes)))
                ratios.append(seconds(partial(attribute_all, views, image, classes, method)) / passes[-1])
            cells.append(f"{median(ratios):.2f}" if ratios else "–")
        count = str(len(views_of(model)))
        table.add_row(name, count, f"{1000 * median(passes) / options.batch_size:.1f}", *cells)
    console.print(table)


if __name__ == "__main__":
    main()
