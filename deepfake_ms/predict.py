"""``deepfake-ms predict run=RUN PATH ...``: are the faces in these videos and images fake?"""

import argparse
import math
import os
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from deepfake_ms.cli import plain_entry_point
from deepfake_ms.console import wide_console
from deepfake_ms.errors import UserError
from deepfake_ms.prediction.detector import TrainedDetector, load_detector
from deepfake_ms.prediction.files import ABSTAINED, SCORED, UNREADABLE, VideoPrediction, predict_file
from deepfake_ms.prediction.find_files import find_files
from deepfake_ms.prediction.outputs import Outputs
from deepfake_ms.prediction.record import as_line, as_record, shown
from deepfake_ms.prediction.source import is_prepared, is_source, source_folder, usable_device
from deepfake_ms.prediction.table import predictions_table
from deepfake_ms.prediction.verdict import Limits
from deepfake_ms.preprocessing.progress import progress_bar

NOT_ALL_SCORED = 3
"""Exit status if a file cannot be read, abstains, or has a report or video that cannot be written; the others have."""
NOT_WRITTEN = "not written"
NEEDED = ("pytorch_grad_cam", "captum", "jinja2")
"""Packages that a report needs."""


@plain_entry_point
def main() -> None:
    parser = _parser()
    arguments = parser.parse_args()
    source, prepared, paths = _split(arguments.arguments, parser)
    if (arguments.report or arguments.video) and not arguments.output:
        parser.error("--report and --video write files: add --output DIR")
    if arguments.report and (missing := [name for name in NEEDED if not find_spec(name)]):
        raise UserError(f"{missing[0]} is not installed, and a report needs it: run `pip install -e '.[explain]'`.")
    files, problems = find_files(paths, arguments.output)
    if arguments.video and (beside := [each for each in files if _lies_in(each, arguments.output)]):
        raise UserError(
            f"{arguments.output} holds {shown(beside[0])}, which is to be scored, and annotated copies must not "
            "replace videos: give another folder with --output."
        )
    detector = load_detector(source, usable_device(arguments.device), prepared)
    limits = Limits(arguments.min_frames, arguments.min_face, arguments.any_face, arguments.max_frames)
    outputs = Outputs(arguments.output, arguments.report, arguments.video) if arguments.output else None
    console, errors = wide_console(highlight=False), Console(stderr=True, highlight=False, soft_wrap=True)
    found, counts, interrupted = [], Counter(), False
    try:
        for prediction in _predict(detector, files, problems, limits, errors):
            counts[prediction.status] += 1
            line = as_line(as_record(prediction, detector))
            if arguments.json:
                print(line, flush=True)
            else:
                found.append(prediction)
            for problem in outputs.write(prediction, line, detector, limits) if outputs else ():
                errors.print(problem, markup=False)
                counts[NOT_WRITTEN] += 1
    except KeyboardInterrupt:
        interrupted = True  # what is scored is shown
    if not arguments.json:
        console.print(predictions_table(found, detector))
    errors.print(f"{counts[SCORED]} scored, {counts[ABSTAINED]} abstained, {counts[UNREADABLE]} not read")
    if outputs:
        errors.print(f"Written to {arguments.output}", markup=False)
    if interrupted:
        raise KeyboardInterrupt
    if counts.total() > counts[SCORED]:
        sys.exit(NOT_ALL_SCORED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deepfake-ms predict",
        usage="deepfake-ms predict (run=RUN [prepared=FACES] | model=DIR) PATH ... [options]",
        description="Score every face in videos and images with a finished run. Faces are followed over time and "
        "scored apart. A file abstains, and says why, if it has no face, too few frames, too small a face, or one that "
        "is unlike the training data.",
        epilog="Exit status: 0 if all files are scored; 3 if some abstain, cannot be read, or have a report or video "
        "that cannot be written; 2 if the arguments or the detector cannot be used; 130 after Ctrl-C, which keeps what "
        "is scored.",
    )
    parser.add_argument(
        "arguments",
        nargs="+",
        metavar="run=RUN PATH",
        help="run=FOLDER of a finished run or model=FOLDER of an exported one; prepared=FOLDER of the run's faces, if "
        "they were moved; files and folders, which are searched to any depth",
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON per file instead of a table")
    parser.add_argument("--output", metavar="DIR", type=Path, help="write predictions.jsonl into this folder")
    parser.add_argument("--report", action="store_true", help="also write an HTML report per file there")
    parser.add_argument("--video", action="store_true", help="also write each video with boxes and P(fake) there")
    parser.add_argument(
        "--min-frames",
        metavar="N",
        type=_at_least_one,
        default=Limits.min_frames,
        help=f"frames in which a face must be found (default: {Limits.min_frames})",
    )
    parser.add_argument(
        "--min-face",
        metavar="PX",
        type=_at_least_zero,
        help="smallest face in pixels (default: as in the training data)",
    )
    parser.add_argument("--any-face", action="store_true", help="also score faces unlike the training data")
    parser.add_argument(
        "--max-frames", metavar="N", type=_at_least_one, help="read only the first N sampled frames of a video"
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, ...; default: a GPU if there is one")
    return parser


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return int(text)


def _at_least_zero(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number of pixels")
    return number


def _lies_in(path: Path, folder: Path) -> bool:
    return os.path.dirname(os.path.realpath(path)) == os.path.realpath(folder)  # noqa: PTH120 resolve raises for loops


def _split(arguments: list[str], parser: argparse.ArgumentParser) -> tuple[Path, Path | None, list[str]]:
    """The folder of the detector, that of its prepared faces if it is given, and the paths."""
    sources = [each for each in arguments if is_source(each)]
    faces = [each for each in arguments if is_prepared(each)]
    paths = [each for each in arguments if not is_source(each) and not is_prepared(each)]
    if len(sources) != 1 or len(faces) > 1 or not paths:
        parser.error("give run=FOLDER or model=FOLDER once, and at least one file or folder")
    return source_folder(sources[0]), source_folder(faces[0]) if faces else None, paths


def _predict(
    detector: TrainedDetector, files: list[Path], problems: dict[Path, str], limits: Limits, console: Console
) -> Iterator[VideoPrediction]:
    """The prediction of each file, with progress; then what could not be read at all."""
    frames = 0
    with progress_bar("scoring", "files", console, lines=len(files) > 1) as report:
        for number, path in enumerate(files, start=1):
            prediction = predict_file(detector, path, limits)
            frames += len(prediction.frames)
            report(number, len(files), files=number, frames=frames)
            yield prediction
    for path, reason in problems.items():
        yield VideoPrediction(path, "folder", problem=reason)


if __name__ == "__main__":
    main()
