"""The files that ``deepfake-ms predict --output DIR`` writes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepfake_ms.datasets.source import portable
from deepfake_ms.errors import UserError
from deepfake_ms.files import append_line, limit_name
from deepfake_ms.prediction.detector import TrainedDetector
from deepfake_ms.prediction.files import VideoPrediction
from deepfake_ms.prediction.verdict import Limits

LINES_NAME = "predictions.jsonl"
_LONGEST_NAME = 150


class Outputs:
    """Writes each prediction as soon as it is there, so that an interrupted command loses none.

    Args:
        folder: for ``predictions.jsonl``, which is replaced; reports and videos are named after their files.
        report: write an HTML report per file.
        video: write an annotated copy of each video.
    """

    def __init__(self, folder: Path, report: bool, video: bool) -> None:
        self._folder, self._report, self._video = folder, report, video
        self._names: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LINES_NAME).write_text("")

    def write(self, prediction: VideoPrediction, line: str, detector: TrainedDetector, limits: Limits) -> list[str]:
        """Append the line of JSON, and write report and video if they are wanted and something was read.

        Returns:
            Sentences about what could not be written.
        """
        append_line(self._folder / LINES_NAME, line)
        if prediction.problem:
            return []
        path, problems = self._folder / self._name(prediction.path), []
        if self._report:
            from deepfake_ms.prediction.report import write_report  # needs the extra `explain`

            with _noted(problems):
                write_report(path.with_name(f"{path.name}.html"), prediction, detector, limits)
        if self._video and prediction.media == "video":
            from deepfake_ms.prediction.annotate import annotate_video

            with _noted(problems):
                annotate_video(path.with_name(f"{path.name}.mp4"), prediction)
        return problems

    def _name(self, path: Path) -> str:
        """The file's name, safe on every file system, with a number if an earlier file has the same."""
        stem = limit_name(portable(Path(path.name)), _LONGEST_NAME)
        name = next(each for each in (stem, *(f"{stem}~{n}" for n in range(2, 10**6))) if each not in self._names)
        self._names.add(name)
        return name


@contextmanager
def _noted(problems: list[str]) -> Iterator[None]:
    """Add the sentence of a `UserError` to `problems`, so that the other files are still processed."""
    try:
        yield
    except UserError as error:
        problems.append(str(error))
