"""Whether memory grows with the number of videos: peak resident memory of `prepare` for 10, 100 and 1,000 videos.

    python -m experiments.benchmarks.preparation_memory

The videos are hard links to one drawn video of one second. The main process and its single worker are measured
separately. Needs Linux, where `getrusage` reports kilobytes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from deepfake_ms.datasets import find_corpus
from deepfake_ms.datasets.miniature import MiniatureSettings, draw_corpus
from deepfake_ms.preprocessing.prepare import prepare_corpus
from deepfake_ms.preprocessing.settings import PreparationSettings
from experiments.benchmarks.machine import describe_machine


def prepare(videos: Path, output: Path) -> dict[str, float]:
    """Peak memory of this process and of its worker, in MB."""
    import resource  # not available on Windows

    prepare_corpus(find_corpus("folder", videos), "linked", PreparationSettings(), output, workers=1)
    return {
        name: resource.getrusage(who).ru_maxrss / 1024
        for name, who in (("main process", resource.RUSAGE_SELF), ("worker", resource.RUSAGE_CHILDREN))
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.preparation_memory",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--counts", type=int, nargs="+", default=[10, 100, 1000], help="default: 10 100 1000")
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        print(json.dumps(prepare(*map(Path, options.run))))
        return
    console = Console(soft_wrap=True, highlight=False)
    console.print(describe_machine(("av", "torch", "facenet-pytorch", "pyarrow")))
    table = Table("videos", "main process, MB", "worker, MB", title="Peak resident memory of prepare")
    with tempfile.TemporaryDirectory() as scratch:
        drawn = Path(scratch) / "drawn"
        draw_corpus(
            MiniatureSettings(identities=4, cast_size=2, youtube_people=0, fakes=2, seconds=1.0), drawn, workers=1
        )
        video = next(drawn.glob("Celeb-real/*.mp4"))
        for count in options.counts:
            videos = Path(scratch) / f"videos_{count}"
            (videos / "real").mkdir(parents=True)
            for number in range(count):
                (videos / "real" / f"{number:05d}.mp4").hardlink_to(video)
            folders = str(videos), str(Path(scratch) / f"prepared_{count}")
            command = [sys.executable, "-m", __spec__.name, "--run", *folders]
            peak = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            table.add_row(f"{count:,}", *(f"{peak[name]:.0f}" for name in ("main process", "worker")))
    console.print(table)


if __name__ == "__main__":
    main()
