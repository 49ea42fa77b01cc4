"""How set-up, split, audit, sampler and evaluation grow with the number of faces: time and memory of every step.

    python -m experiments.benchmarks.load                             # 10,000, 100,000 and 1,000,000 faces
    python -m experiments.benchmarks.load --rows 10000 100000

The manifests are random: 32 faces per video, a person in every tenth video, one fake per two videos, and copies of one
face in a hundred in another subset. No crops are read. Each size runs in its own process. The last columns show by what
factor time grows from one size to the next, which is 10 if a step is linear; the program fails if a factor is above 30,
as in a step that compares all pairs.
"""

import argparse
import io
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from deepfake_ms.data.audit import audit_split
from deepfake_ms.data.dataset import FaceDataset
from deepfake_ms.data.face_pairs import find_partners
from deepfake_ms.data.prepared_faces import PreparedFaces
from deepfake_ms.data.sampling import EpochSampler
from deepfake_ms.data.splits import SplitPolicy, balance, split_manifest
from deepfake_ms.files import sha256_of, write_json
from deepfake_ms.manifest import BOX_COLUMNS, LANDMARK_COLUMNS, MANIFEST_NAME, SCHEMA, write_manifest
from deepfake_ms.preprocessing.prepared import PREPARED_NAME
from deepfake_ms.preprocessing.settings import PreparationSettings
from deepfake_ms.scoring.intervals import bootstrap_intervals
from deepfake_ms.scoring.metrics import choose_thresholds, score_table
from experiments.benchmarks.machine import describe_machine

ROWS = (10_000, 100_000, 1_000_000)
FACES_PER_VIDEO = 32
LARGEST_GROWTH = 30
"""For ten times the rows. A linear step has 10, one that compares all pairs 100; caches cost some."""
SHORTEST_S = 0.5
"""Shorter steps are not judged: fixed costs dominate them."""
RESAMPLES = 200
LIBRARIES = ("numpy", "pandas", "pyarrow", "torch")

Steps = dict[str, tuple[float, float]]
"""Name of a step -> seconds, and largest memory of the process during the step in MB."""


def draw_rows(count: int, seed: int = 0) -> Iterator[dict]:
    """Rows of a random manifest, sorted by video and frame."""
    random = np.random.default_rng(seed)
    hashes = random.integers(0, 256, (count, 32), dtype=np.uint8)
    copies = random.integers(0, count, count // 100)
    hashes[copies] = hashes[random.permutation(count)[: len(copies)]]
    people = max(2, count // FACES_PER_VIDEO // 10)
    for number in range(count):
        video, frame = divmod(number, FACES_PER_VIDEO)
        fake = video % 3 == 2
        first = video * 7919 % people
        row = dict.fromkeys(SCHEMA.names, None) | dict.fromkeys((*BOX_COLUMNS, *LANDMARK_COLUMNS), 50.0)
        yield row | {
            "sample_id": f"video{video:07d}#{frame}",
            "source": f"video{video:07d}.mp4",
            "video_id": f"video{video:07d}",
            "label": "fake" if fake else "real",
            "method": "swap" if fake else "real",
            "identities": [f"id{first}", f"id{(first + 1) % people}"] if fake else [f"id{first}"],
            "source_video": f"video{video - 1:07d}" if fake else None,
            "frame_index": frame,
            "time_s": float(frame),
            "probability": 0.99,
            "crop": f"crops/video{video:07d}/{frame:06d}.bmp",
            "sha256": "0" * 64,
            "perceptual_hash": hashes[number].tobytes().hex(),
        }


def measure(rows: int) -> Steps:
    """Seconds and memory of every step for so many faces."""
    steps: Steps = {}

    @contextmanager
    def step(name: str):
        _forget_peak()
        begun = time.perf_counter()
        yield
        steps[name] = time.perf_counter() - begun, _peak_mb()

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        about = {"data_name": "load", "fingerprint": "0" * 12, "synthetic": True, "complete": True}
        write_json(folder / PREPARED_NAME, about | {"preparation": PreparationSettings().as_dict()})
        with step("write the manifest"):
            write_manifest(draw_rows(rows), folder)
        with step("read the manifest"):
            manifest = PreparedFaces.read(folder).manifest
            sha256_of(folder / MANIFEST_NAME)
        for policy in ("paper_frames", "video", "identity"):
            with step(f"split: {policy}"):
                subsets = split_manifest(manifest, SplitPolicy(policy))
        subsets = split_manifest(manifest, SplitPolicy("video"))
        with step("audit, with near-duplicates"):
            audit_split(manifest, subsets, SplitPolicy("video"))
        with step("balance, partners, dataset"):
            training = np.flatnonzero(subsets == "train")
            chosen = balance(manifest, training, rows, 0)
            find_partners(manifest, chosen, training)
            faces = FaceDataset(manifest, chosen, folder)
        with step("sampler, one epoch of two ranks"):
            for rank in range(2):
                assert sum(1 for _ in EpochSampler(len(faces), 32, 0, "1", rank, 2)) > 0
        with step("write and read the split"):
            buffer = io.BytesIO()
            pd.DataFrame({"sample_id": manifest["sample_id"], "subset": subsets}).to_parquet(buffer, index=False)
            assert len(pd.read_parquet(buffer)) == rows
        predictions = manifest[["sample_id", "video_id", "method"]].copy()
        predictions["label"] = (manifest["label"] == "fake").astype(int)
        noise = np.random.default_rng(0).normal(0, 0.3, rows)
        predictions["fake_probability"] = np.clip(predictions["label"] * 0.4 + 0.3 + noise, 0, 1).astype("float32")
        with step("evaluation: thresholds and metrics"):
            score_table(predictions, choose_thresholds(predictions))
        with step(f"evaluation: intervals, {RESAMPLES} resamples"):
            bootstrap_intervals({0: predictions}, resamples=RESAMPLES)
    return steps


def _forget_peak() -> None:
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")


def _peak_mb() -> float:
    """The largest memory since `_forget_peak`; NaN on systems other than Linux."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), float("nan"))


def find_growth(before: Steps, after: Steps, factor: float) -> dict[str, float]:
    """By what factor the time of each step grows for ten times the rows.

    Args:
        before, after: of two sizes.
        factor: how many times as many rows the second one has.
    """
    power = np.log(10) / np.log(factor)
    return {name: float((after[name][0] / max(before[name][0], 1e-9)) ** power) for name in after}


def show(measured: dict[int, Steps], console: Console) -> list[str]:
    """Print the table, and return the names of the steps that grow too fast."""
    table = Table("step")
    for rows in measured:
        table.add_column(f"{rows:,} rows", justify="right")
    growths = {
        after: find_growth(measured[before], measured[after], after / before) for before, after in pairwise(measured)
    }
    for rows in growths:
        table.add_column(f"growth to {rows:,}", justify="right")
    too_fast = []
    for name in next(iter(measured.values())):
        cells = [f"{steps[name][0]:.2f} s  {steps[name][1]:,.0f} MB" for steps in measured.values()]
        table.add_row(name, *cells, *(f"{growth[name]:.1f}" for growth in growths.values()))
        judged = [growth[name] for rows, growth in growths.items() if measured[rows][name][0] > SHORTEST_S]
        if judged and judged[-1] > LARGEST_GROWTH:
            too_fast.append(name)
    console.print(table)
    return too_fast


def main() -> None:
    """Measure all sizes, and fail if a step grows too fast."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, help="numbers of faces (default: %(default)s)")
    sizes = sorted(parser.parse_args().rows)
    console = Console(highlight=False)
    console.print(describe_machine(LIBRARIES))
    measured: dict[int, Steps] = {}
    for rows in sizes:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            measured[rows] = pool.apply(measure, (rows,))
        console.print(f"{rows:,} rows: {sum(seconds for seconds, _ in measured[rows].values()):.1f} s")
    if too_fast := show(measured, console):
        console.print(f"These steps grow too fast: {', '.join(too_fast)}.")
        sys.exit(1)


if __name__ == "__main__":
    main()
