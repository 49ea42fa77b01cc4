"""Predictions as a table for people."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rich.table import Table
from rich.text import Text

from deepfake_ms.prediction.detector import TrainedDetector
from deepfake_ms.prediction.files import UNREADABLE, VideoPrediction
from deepfake_ms.prediction.record import shown
from deepfake_ms.prediction.verdict import CONFIDENCE, Track, calibrated_thresholds

MOST_FACES = 5
"""Faces of a file that the table shows."""
STYLES = {"fake": "bold red", "real": "green"}


def predictions_table(predictions: Sequence[VideoPrediction], detector: TrainedDetector) -> Table:
    """One row per file, and one per further face of a video with several faces.

    Args:
        predictions: of the files.
        detector: that made them.
    """
    thresholds, folder = calibrated_thresholds(detector), common_folder([each.path for each in predictions])
    synthetic = " · TRAINED ON SYNTHETIC DATA: says nothing about real faces" if detector.synthetic else ""
    table = Table(
        title=f"{detector.name}{synthetic}" + (f"\nfiles in {shown(folder)}" if folder else ""),
        caption=f"P(fake): calibrated on validation; in brackets, the {100 * CONFIDENCE:g} % interval over the file's "
        f"frames. Validation threshold: {thresholds['video']:.3f} for videos, {thresholds['frame']:.3f} for images. "
        "The face with the highest P(fake) decides.",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("file", overflow="fold")
    for heading in ("face", "frames"):
        table.add_column(heading, justify="right")
    table.add_column("P(fake)", justify="right", no_wrap=True)
    table.add_column("decision", overflow="fold")
    for prediction in predictions:
        name = shown(prediction.path.relative_to(folder) if folder else prediction.path)
        if prediction.status == UNREADABLE:
            table.add_row(Text(name), "", "", "", Text(f"not read: {prediction.problem}", style="yellow"))
            continue
        if not prediction.tracks:
            decision = Text(f"abstains: {prediction.verdict.reason}", style="yellow")
            table.add_row(Text(name), "", f"0 of {len(prediction.frames)}", "", decision)
        decides = prediction.verdict.track
        ordered = in_order(prediction)
        for track in ordered[:MOST_FACES]:
            frames = f"{len(track.faces)} of {len(prediction.frames)}"
            first = Text(name) if track is decides else ""
            numbers = describe(track.probability, track.interval)
            table.add_row(first, str(track.number), frames, numbers, decision_of(track))
        if len(ordered) > MOST_FACES:
            table.add_row("", "", "", "", f"and {len(ordered) - MOST_FACES} more faces")
    return table


def common_folder(paths: Sequence[Path]) -> Path | None:
    """The folder that contains all paths, if there are several; None if there is none but the current one."""
    if len(paths) > 1:
        with suppress(ValueError):  # some are relative
            folder = os.path.commonpath([path.parent for path in paths])
            return Path(folder) if folder else None
    return None


def in_order(prediction: VideoPrediction) -> list[Track]:
    """The tracks of a file: the deciding one, the other scored ones by falling P(fake), then those that abstain."""
    decides = prediction.verdict.track
    return sorted(prediction.tracks, key=lambda each: (each is not decides, each.reason is not None, -each.raw))


def describe(probability: float, interval: tuple[float, float] | None) -> str:
    """A probability with its interval."""
    return f"{probability:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def decision_of(track: Track) -> Text:
    """The decision on a track, or its reason to abstain."""
    if track.reason:
        return Text(f"abstains: {track.reason}", style="yellow")
    if track.is_fake is None:
        return Text("no threshold", style="yellow")
    decision = "fake" if track.is_fake else "real"
    return Text(decision, style=STYLES[decision])
