"""Speed of face extraction from videos, compared with a straightforward program and with decoding alone.

    python -m experiments.benchmarks.preparation --videos /path/to/videos     # real videos
    python -m experiments.benchmarks.preparation                              # drawn videos

The programs run alternately on the same machine, each in its own process on one core or two:

- ours: `prepare_corpus` in one process, or with two workers, including crops, manifest and report.
- straightforward: PyAV decodes every frame; one frame per second, at full size, is passed to facenet-pytorch's
  `MTCNN.detect`; PIL crops the largest face and saves it as PNG. One process, on one core and on two.
- decoding: PyAV decodes every frame on one thread (two processes on two cores) and converts one per second to RGB.

Imports, the construction of networks and the start of workers are excluded: every program first processes one video,
and the time of `prepare_corpus` for that video is subtracted from its time for all.
The detected faces and eye positions are compared with those of the straightforward program and, on drawn videos, with
the true eye positions.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import av
import cv2
import numpy as np
import torch
from facenet_pytorch import MTCNN
from PIL import Image
from rich.console import Console
from rich.table import Table

from deepfake_ms.datasets import find_corpus
from deepfake_ms.datasets.miniature import MiniatureSettings, draw_corpus, plan_corpus, render_video
from deepfake_ms.preprocessing.frames import read_frames
from deepfake_ms.preprocessing.mtcnn import MTCNNDetector
from deepfake_ms.preprocessing.prepare import prepare_corpus
from deepfake_ms.preprocessing.settings import PreparationSettings
from experiments.benchmarks.machine import describe_machine

SETTINGS = PreparationSettings()
CONFIDENT = 0.9
PROGRAMS = {
    "ours, 1 core": ("ours", 1),
    "ours, 2 workers, 2 cores": ("ours", 2),
    "straightforward, 1 core": ("straightforward", 1),
    "straightforward, 2 cores": ("straightforward", 2),
    "decoding, 1 core": ("decoding", 1),
    "decoding, 2 cores": ("decoding", 2),
}
DISTANCES = (
    "ours to theirs, face inside the frame",
    "ours to theirs, face beyond the edge",
    "ours to theirs with a black border, face beyond the edge",
    "ours to the truth",
    "theirs to the truth",
)
RATIOS = [
    ("straightforward, 1 core", "ours, 1 core"),
    ("straightforward, 2 cores", "ours, 2 workers, 2 cores"),
    ("ours, 1 core", "decoding, 1 core"),
    ("ours, 2 workers, 2 cores", "decoding, 2 cores"),
]


def sampled(path: Path, threads: int = 0) -> Iterator[av.VideoFrame]:
    """One frame per second, from a decoder that decodes all frames; with 0 threads, PyAV chooses their number."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if threads:
            stream.codec_context.thread_count = threads
        wanted = 0
        for frame in container.decode(stream):
            if frame.time - float(stream.start_time or 0) * stream.time_base >= wanted:
                wanted += 1
                yield frame


def prepare_straightforwardly(paths: list[Path], output: Path) -> None:
    """The straightforward program."""
    detector = MTCNN(keep_all=True)
    for path in paths:
        for number, frame in enumerate(sampled(path)):
            image = frame.to_image()
            boxes, probabilities, _ = detector.detect(image, landmarks=True)
            if boxes is None or probabilities[0] < CONFIDENT:
                continue
            left, top, right, bottom = max(boxes, key=lambda box: box[2] - box[0])
            side = max(right - left, bottom - top)
            half = side * (1 + SETTINGS.margin) / 2
            x, y = (left + right) / 2, (top + bottom) / 2 + side * SETTINGS.offset
            crop = image.crop((round(x - half), round(y - half), round(x + half), round(y + half)))
            crop.resize((SETTINGS.crop_size, SETTINGS.crop_size), Image.Resampling.BICUBIC).save(
                output / f"{path.stem}_{number}.png"
            )


def decode(path: Path) -> int:
    """Decode a video on one thread and return the number of frames converted to RGB."""
    return sum(frame.to_ndarray(format="rgb24").ndim == 3 for frame in sampled(path, threads=1))


def run_program(program: str, cores: int, videos: Path, first: Path) -> float:
    """Seconds that a program takes for the videos in `videos`, after it has processed the one in `first`."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    torch.set_num_threads(cores)
    paths = sorted(videos.rglob("*.mp4"))
    with tempfile.TemporaryDirectory() as scratch:
        if program == "ours":
            seconds = [
                _timed(lambda folder=folder: _prepare(folder, Path(scratch), 0 if cores == 1 else cores))
                for folder in (first, videos)
            ]
            return seconds[1] - seconds[0]
        if program == "straightforward":
            prepare_straightforwardly(sorted(first.rglob("*.mp4")), Path(scratch))
            return _timed(lambda: prepare_straightforwardly(paths, Path(scratch)))
        if cores == 1:
            return _timed(lambda: [decode(path) for path in paths])
        with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
            list(pool.map(decode, sorted(first.rglob("*.mp4")) * cores))
            ordered = sorted(paths, key=lambda path: -path.stat().st_size)
            return _timed(lambda: list(pool.map(decode, ordered)))


def _prepare(videos: Path, output: Path, workers: int) -> None:
    prepare_corpus(find_corpus("folder", videos), videos.name, SETTINGS, output, workers)


def _timed(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(videos: Path, first: Path, rounds: int, done) -> dict[str, list[float]]:
    """Seconds per program and round."""
    seconds: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for number in range(1, rounds + 1):
        for name, (program, cores) in PROGRAMS.items():
            command = [sys.executable, "-m", __spec__.name, "--run", program, str(cores), str(videos), str(first)]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            seconds[name].append(json.loads(output))
            done(f"round {number}: {name}: {seconds[name][-1]:.2f} s")
    return seconds


def compare_faces(videos: Path, truth: dict[str, np.ndarray] | None) -> dict[str, list]:
    """Compare the detections of both programs on the same frames.

    Args:
        videos: folder of videos.
        truth: eye centres [frames, 2, 2] by path relative to `videos`, if known.

    Returns:
        ``ours`` and ``theirs``: whether a face was found in each frame; `DISTANCES`: distances between eye positions,
        in face widths.
    """
    found: dict[str, list] = {name: [] for name in ("ours", "theirs", *DISTANCES)}
    ours, theirs = MTCNNDetector(), MTCNN(keep_all=True)
    for path in sorted(videos.rglob("*.mp4")):
        frames = list(read_frames(path, SETTINGS.fps))
        for frame, faces in zip(frames, ours.detect(frame.image for frame in frames), strict=True):
            faces = [face for face in faces if face.probability >= CONFIDENT]
            boxes, probabilities, landmarks = theirs.detect(frame.image, landmarks=True)
            is_theirs = boxes is not None and probabilities[0] >= CONFIDENT
            found["ours"].append(bool(faces))
            found["theirs"].append(is_theirs)
            if not (faces and is_theirs):
                continue
            largest = max(faces, key=lambda face: face.side)
            boxes, landmarks = boxes.astype(float), landmarks.astype(float)
            nearest = np.argmin(np.linalg.norm((boxes[:, :2] + boxes[:, 2:]) / 2 - largest.centre, axis=1))
            width = boxes[nearest, 2] - boxes[nearest, 0]

            def distance(eyes: np.ndarray, others: np.ndarray, width: float = width) -> float:
                return float(np.linalg.norm(eyes[:2] - others[:2], axis=1).max() / width)

            if (largest.box >= 0).all() and (largest.box[2:] <= frame.image.shape[1::-1]).all():
                found["ours to theirs, face inside the frame"].append(distance(largest.landmarks, landmarks[nearest]))
            else:
                found["ours to theirs, face beyond the edge"].append(distance(largest.landmarks, landmarks[nearest]))
                border = max(frame.image.shape) // 3
                framed = cv2.copyMakeBorder(frame.image, *[border] * 4, cv2.BORDER_CONSTANT)
                _, probabilities, landmarks = theirs.detect(framed, landmarks=True)
                if landmarks is not None and probabilities[0] >= CONFIDENT:
                    moved = largest.landmarks + border
                    found["ours to theirs with a black border, face beyond the edge"].append(
                        distance(moved, landmarks[0].astype(float))
                    )
            if truth is not None:
                eyes = truth[path.relative_to(videos).as_posix()][frame.index]
                found["ours to the truth"].append(distance(largest.landmarks, eyes))
                found["theirs to the truth"].append(distance(landmarks[nearest], eyes))
    return found


def draw_videos(folder: Path) -> dict[str, np.ndarray]:
    """Draw a small corpus of 60 videos and return the eye centres in the frames of each video."""
    settings = MiniatureSettings(identities=8, youtube_people=6, fakes=30)
    draw_corpus(settings, folder, workers=len(os.sched_getaffinity(0)))
    return {
        video.name: np.stack([eyes for _, eyes in render_video(video, settings)]) for video in plan_corpus(settings)
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.preparation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--videos", type=Path, help="folder of mp4 files; default: videos are drawn")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--run", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        program, cores, videos, first = options.run
        print(json.dumps(run_program(program, int(cores), Path(videos), Path(first))))
        return

    console = Console(soft_wrap=True, highlight=False)
    console.print(describe_machine(("av", "torch", "facenet-pytorch", "opencv-python-headless", "pillow")))
    with tempfile.TemporaryDirectory() as scratch:
        videos, truth = options.videos, None
        if videos is None:
            videos = Path(scratch) / "drawn"
            truth = draw_videos(videos)
        first = Path(scratch) / "first"
        first.mkdir()
        smallest = min(videos.rglob("*.mp4"), key=lambda path: path.stat().st_size)
        (first / smallest.name).write_bytes(smallest.read_bytes())
        report(videos, truth, first, options.rounds, console)


def report(videos: Path, truth: dict[str, np.ndarray] | None, first: Path, rounds: int, console: Console) -> None:
    """Measure, compare and print."""
    note = Console(stderr=True, soft_wrap=True, highlight=False).print
    seconds = measure(videos, first, rounds, note)
    faces = compare_faces(videos, truth)
    kind = "drawn videos (SYNTHETIC)" if truth is not None else "videos"
    count = len(list(videos.rglob("*.mp4")))
    frames = len(faces["ours"])
    title = f"{count} {kind}, {frames} frames at 1 fps, median of {rounds} rounds"
    table = Table("program", "ms per frame", title=title)
    for name, each in seconds.items():
        table.add_row(name, f"{median(each) / frames * 1000:.1f}")
    console.print(table)
    for slow, fast in RATIOS:
        console.print(f"{slow} / {fast}: {median(seconds[slow]) / median(seconds[fast]):.2f}")
    console.print(
        f"frames with a face: ours {np.mean(faces['ours']):.1%}, straightforward {np.mean(faces['theirs']):.1%}"
    )
    for name in DISTANCES:
        if len(each := np.array(faces[name])):
            console.print(
                f"eyes, {name} ({len(each)} frames): median {np.median(each):.3f}, 95th percentile "
                f"{np.quantile(each, 0.95):.3f} face widths; {np.mean(each < 0.03):.0%} below .03"
            )


if __name__ == "__main__":
    main()
