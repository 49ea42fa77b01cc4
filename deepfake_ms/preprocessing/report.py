"""The preparation report: how many videos and frames of each class were read, kept and dropped, and why."""

from collections.abc import Iterable, Sequence
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
    "faces_over_edge": "kept faces that extend beyond the frame",
    "eyes_outside": "kept faces with an eye outside the frame",
}
_COUNTED_IN_RECORDS = (
    "frames_read",
    "dropped_no_face",
    "dropped_low_probability",
    "several_faces",
    "faces_over_edge",
    "eyes_outside",
)
_MAX_LISTED = 10


def build_report(data_name: str, records: Iterable[dict[str, Any]], missing: Sequence[str] = ()) -> dict[str, Any]:
    """Sum the records of `deepfake_ms.preprocessing.extract`, with one record in memory at a time.

    Args:
        data_name: name of the data configuration.
        records: the records of all videos.
        missing: files that the corpus's own lists name but its folders lack.

    Returns:
        ``data``, ``classes`` (label → counts of videos and frames; a video is quarantined if none of its files can be
        read), ``quarantined`` (every unreadable file with its ``source``, ``label`` and ``reason``) and ``missing``.
    """
    classes: dict[str, dict[str, int]] = {}
    quarantined: list[dict[str, str]] = []
    for record in records:
        counts = classes.setdefault(record["label"], dict.fromkeys(_COUNTS, 0))
        read = len(record["quarantined"]) < record["files"]
        counts["videos_found"] += 1
        counts["videos_read"] += read
        counts["videos_quarantined"] += not read
        counts["videos_without_face"] += read and not record["rows"]
        counts["faces_kept"] += len(record["rows"])
        for name in _COUNTED_IN_RECORDS:
            counts[name] += record[name]
        quarantined += record["quarantined"]
    return {
        "data": data_name,
        "classes": classes,
        "quarantined": sorted(quarantined, key=lambda entry: entry["source"]),
        "missing": list(missing),
    }


def print_report(report: dict[str, Any], console: Console | None = None) -> None:
    """Print a report as a table with one column per class, and the quarantined files below it."""
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
        console.print(f"Quarantined (unreadable, excluded): {len(report['quarantined'])} files")
        for entry in report["quarantined"][:_MAX_LISTED]:
            console.print(f"  {entry['source']}: {entry['reason']}", markup=False)
        if len(report["quarantined"]) > _MAX_LISTED:
            console.print("  … (the report lists all)")
        console.print("To include them, download them again and rerun the same command.")
    if report["missing"]:
        named = ", ".join(report["missing"][:3])
        console.print(
            f"Named in the corpus's own lists but missing on disk: {len(report['missing'])} files, e.g. {named}",
            markup=False,
        )
