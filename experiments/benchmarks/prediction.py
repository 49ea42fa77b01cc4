"""Cost of `deepfake-ms predict`, relative to preparing the same videos and passing their faces through the network.

    python -m experiments.benchmarks.prediction --run RUN --videos FOLDER

Run it from the repository's root. Times are those of the processor, on one thread. In every round, the two programs
alternate on each video:

- predict: `predict_file`, with tracks, calibration, intervals, the rule for faces unlike the training data, and the
  line of JSON.
- prepare and forward: `extract_faces`, which writes crops and the record, as preparation does; then the crops, in
  batches, through the network.

The network, face detector and the first video are warmed up before. The goal is a ratio of at most 1.2. Preparation
keeps one face per frame; on videos with several faces, predict scores all of them, so the table counts them.
"""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from rich.console import Console

from deepfake_ms.datasets import Source
from deepfake_ms.prediction.detector import TrainedDetector, load_detector
from deepfake_ms.prediction.files import predict_file
from deepfake_ms.prediction.find_files import find_files
from deepfake_ms.prediction.record import as_line, as_record
from deepfake_ms.preprocessing.extract import extract_faces
from deepfake_ms.preprocessing.mtcnn import MTCNNDetector
from deepfake_ms.quiet import hush
from experiments.benchmarks.machine import describe_machine
from experiments.markdown import markdown_table

LIBRARIES = ("torch", "av", "opencv-python-headless")


def predict(detector: TrainedDetector, path: Path) -> int:
    """Faces that were scored."""
    prediction = predict_file(detector, path)
    as_line(as_record(prediction, detector))
    return sum(len(track.faces) for track in prediction.tracks)


def prepare_and_forward(detector: TrainedDetector, face_detector: MTCNNDetector, path: Path) -> int:
    """Faces that were scored, one per frame."""
    with tempfile.TemporaryDirectory() as folder:
        source = Source(path, path.name, "video", "unlabelled", "unknown", (), None, None, "video")
        record = extract_faces([source], Path(folder), detector.preparation, face_detector)
        crops = [
            cv2.imread(f"{folder}/{row['crop']}", cv2.IMREAD_COLOR_RGB).transpose(2, 0, 1) for row in record["rows"]
        ]
    if crops:
        detector.probabilities(np.stack(crops))
    return len(crops)


def main(arguments: list[str] | None = None) -> None:
    hush()
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.prediction",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--run", type=Path, required=True, help="folder of the run")
    parser.add_argument("--videos", required=True, help="folder of videos")
    parser.add_argument("--count", type=int, help="only so many videos, evenly spaced")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(describe_machine(LIBRARIES))
    detector, face_detector = load_detector(asked.run), MTCNNDetector()
    videos = find_files([asked.videos])[0]
    chosen = np.unique(np.linspace(0, len(videos) - 1, asked.count or len(videos), dtype=int))
    videos = [videos[position] for position in chosen]
    programs = (partial(predict, detector), partial(prepare_and_forward, detector, face_detector))
    rounds = []
    for number in range(asked.rounds + 1):
        sums, faces = np.zeros(2), np.zeros(2, dtype=int)
        for video in videos if number else videos[:1]:  # round 0 warms up
            for position, program in enumerate(programs):
                start = time.process_time()
                faces[position] += program(video)
                sums[position] += time.process_time() - start
        rounds.append(sums)
    del rounds[0]
    ours, theirs = (median(sums[program] for sums in rounds) for program in range(2))
    ratio = median(sums[0] / sums[1] for sums in rounds)
    rows = [
        ["predict", len(videos), faces[0], f"{ours:.1f}", f"{ours / len(videos):.3f}", f"{ratio:.2f}"],
        ["prepare and forward", len(videos), faces[1], f"{theirs:.1f}", f"{theirs / len(videos):.3f}", "1"],
    ]
    console.print(markdown_table(["program", "videos", "faces", "s", "s per video", "ratio"], rows))


if __name__ == "__main__":
    main()
