"""How much each of three savings speeds up training on a CPU.

    python -m experiments.benchmarks.steps                             # GenConViT-ED, lite, batch 16, one thread
    python -m experiments.benchmarks.steps --model genconvit --rounds 9

Steps (forward, backward, optimizer) on one fixed batch, with all savings, without one of them, and without any. Each
variant has its own process. The processes take turns in blocks of steps, so that other work on the machine slows all of
them down equally; times and ratios are medians over the blocks. Page faults are pages that the system had to provide.
"""

import argparse
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from deepfake_ms.assembly import run_config
from deepfake_ms.composition import compose
from deepfake_ms.models.genconvit import network
from deepfake_ms.training.curriculum import Curriculum
from deepfake_ms.training.memory import keep_freed_memory
from deepfake_ms.training.optimization import build_optimizer
from deepfake_ms.training.run import build_detector
from experiments.benchmarks.machine import describe_machine
from experiments.benchmarks.timed_loops import bare

MEMORY, FILLING, FROZEN = "freed memory kept", "new memory not filled", "frozen layers folded, views apart"
SAVINGS = (MEMORY, FILLING, FROZEN)
VARIANTS: dict[str, tuple[str, ...]] = {
    "all savings": SAVINGS,
    **{f"without: {name}": tuple(other for other in SAVINGS if other != name) for name in SAVINGS},
    "without all": (),
}
WARM_UP = 10
LIBRARIES = ("torch", "timm")
_step: Callable[[], None]


def set_up(savings: tuple[str, ...], model: str, size: str, batch_size: int) -> None:
    """Prepare this process for `run_block`."""
    global _step
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = FILLING not in savings
    if MEMORY in savings:
        keep_freed_memory()
    if FROZEN not in savings:
        network.features_of_both = _in_one_batch
    config = run_config(compose(f"model={model}", f"size={size}", "model.pretrained=false"), "benchmark")
    stage = Curriculum.from_record(config).stages[0]
    detector = build_detector(config, stage).to(memory_format=torch.channels_last)
    optimizer = build_optimizer((p for p in detector.parameters() if p.requires_grad), detector.hparams.optimizer)
    side = detector.model.input_size
    image = torch.randn(batch_size, 3, side, side).contiguous(memory_format=torch.channels_last)
    batch = {"image": image, "label": torch.arange(batch_size) % 2}

    def step() -> None:
        optimizer.zero_grad()
        bare(detector, batch).backward()
        optimizer.step()

    _step = step
    for _ in range(WARM_UP):
        step()


def run_block(steps: int) -> tuple[float, int]:
    """Seconds and page faults per step."""
    faults, start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
    for _ in range(steps):
        _step()
    seconds = time.perf_counter() - start
    return seconds / steps, (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults) // steps


def _in_one_batch(backbone: nn.Module, first: Tensor, second: Tensor) -> Tensor:
    return backbone.forward_features(torch.cat([first, second]))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.steps",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default="genconvit_ed", help="a choice of the group model (default: %(default)s)")
    parser.add_argument("--size", default="lite", help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=16, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="blocks of each variant (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=5, help="steps per block (default: %(default)s)")
    options = parser.parse_args(arguments)

    console = Console(soft_wrap=True, highlight=False)
    console.print(describe_machine(LIBRARIES))
    found: dict[str, list[tuple[float, int]]] = {name: [] for name in VARIANTS}
    with ExitStack() as stack:
        pools = {}
        for name, savings in VARIANTS.items():
            settings = (savings, options.model, options.size, options.batch_size)
            pool = ProcessPoolExecutor(1, get_context("spawn"), set_up, settings)
            pools[name] = stack.enter_context(pool)
            pool.submit(int).result()  # one after the other
        for _ in range(options.rounds):
            for name, pool in pools.items():
                found[name].append(pool.submit(run_block, options.steps).result())
    title = (
        f"{options.model}, {options.size}, batch {options.batch_size}, {options.rounds} rounds of {options.steps} steps"
    )
    table = Table("variant", "ms per step", "time / all savings", "page faults per step", title=title)
    reference = [seconds for seconds, _ in found["all savings"]]
    for name, blocks in found.items():
        ratios = [seconds / base for (seconds, _), base in zip(blocks, reference, strict=True)]
        table.add_row(
            name,
            f"{1000 * median(seconds for seconds, _ in blocks):.0f}",
            f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
            f"{median(faults for _, faults in blocks):,.0f}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
