"""The prepare report: how many videos and frames of each class were read, kept and dropped, and why."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

_COUNTS = {
    "videos_found": "videos found",
    "videos_read": "videos read",
    "videos_quarantined": "videos quarantined",
    "videos_without_face": "videos without a face",
    "frames_read": "frames read",
    "faces_kept": "faces kept",
    "dropped_no_face": "frames dropped: no face",
    "dropped_low_probability": "frames dropped: low probability",
    "several_faces": "frames with several faces",
}


def build_report(data_name: str, records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Add up the records of `deepfake_ms.preprocessing.extract`.

    Returns:
        ``data``, ``classes`` (label → counts of videos and of frames; a video is quarantined when none of its files
        can be read) and ``quarantined`` (every unreadable file with its ``source``, ``label`` and ``reason``).
    """
    classes: dict[str, dict[str, int]] = {}
    for record in records:
        counts = classes.setdefault(record["label"], dict.fromkeys(_COUNTS, 0))
        read = len(record["quarantined"]) < record["files"]
        counts["videos_found"] += 1
        counts["videos_read"] += read
        counts["videos_quarantined"] += not read
        counts["videos_without_face"] += read and not record["rows"]
        counts["faces_kept"] += len(record["rows"])
        for name in ("frames_read", "dropped_no_face", "dropped_low_probability", "several_faces"):
            counts[name] += record[name]
    quarantined = [entry for record in records for entry in record["quarantined"]]
    return {
        "data": data_name,
        "classes": classes,
        "quarantined": sorted(quarantined, key=lambda entry: entry["source"]),
    }


def print_report(report: dict[str, Any], console: Console | None = None) -> None:
    """Print a report as a table, one column per class, and the quarantined files below it."""
    console = console or Console()
    labels = sorted(report["classes"], reverse=True)  # real before fake
    table = Table(title=f"Prepared faces of {report['data']}")
    table.add_column("")
    for label in labels:
        table.add_column(label, justify="right")
    for name, heading in _COUNTS.items():
        table.add_row(heading, *(str(report["classes"][label][name]) for label in labels))
    console.print(table)
    if report["quarantined"]:
        console.print(f"Quarantined and left out: {len(report['quarantined'])} files")
        for entry in report["quarantined"]:
            console.print(f"  {entry['source']}: {entry['reason']}", markup=False)
        console.print("To use them, fetch them from their source again and run the same command; else go on without.")
