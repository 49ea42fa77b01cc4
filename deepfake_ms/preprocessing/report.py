"""The preparation report: what was read, kept, dropped and ignored, and why."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deepfake_ms.datasets import Corpus
from deepfake_ms.preprocessing.grouping_check import GroupingCheck

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
_UNCHANGED = "frames_unchanged"
"""Counted only if frames are perturbed."""
_COUNTED_IN_RECORDS = (
    "frames_read",
    "dropped_no_face",
    "dropped_low_probability",
    "several_faces",
    "faces_over_edge",
    "eyes_outside",
)
_MAX_LISTED = 10
_MAX_NAMED = 3
_MAX_RECORDED = 100
"""Names per reason in the report's file."""


def build_report(data_name: str, records: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Sum the records of `deepfake_ms.preprocessing.extract`, with one record in memory at a time.

    Args:
        data_name: name of the data configuration.
        records: the records of all videos, in the order of their ids.

    Returns:
        ``data``, ``classes`` (label → counts of videos and frames; a video is quarantined if none of its files can be
        read), ``quarantined`` (every unreadable file with its ``source``, ``label`` and ``reason``) and
        ``grouping_warnings`` (from `GroupingCheck`).
    """
    classes: dict[str, dict[str, int]] = {}
    quarantined: list[dict[str, str]] = []
    check = GroupingCheck()
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
        if _UNCHANGED in record:
            counts[_UNCHANGED] = counts.get(_UNCHANGED, 0) + record[_UNCHANGED]
        quarantined += record["quarantined"]
        check.add(record)
    return {
        "data": data_name,
        "classes": classes,
        "quarantined": sorted(quarantined, key=lambda entry: entry["source"]),
        "grouping_warnings": check.warnings,
    }


def describe_corpus(corpus: Corpus) -> dict[str, Any]:
    """The part of the report that follows from the corpus's files alone.

    Returns:
        ``missing`` (files that the corpus's own lists name but its folders lack), ``ignored`` (reason → ``count`` and
        up to 100 ``names`` of files and folders that are not read), ``links`` (the same for followed links that lead
        out of the corpus), ``grouping`` (how images form videos), ``official_split`` (subset → label → number of
        videos) and ``notes``.
    """
    subsets: dict[str, Counter[str]] = {}
    for subset, label, _ in sorted(
        {(each.official_subset or "", each.label, each.video_id) for each in corpus.sources}
    ):
        subsets.setdefault(subset or "not listed", Counter())[label] += 1
    return {
        "missing": list(corpus.missing),
        "ignored": {reason: _count(names) for reason, names in corpus.ignored.items()},
        "links": _count(corpus.links),
        "grouping": list(corpus.grouping),
        "official_split": {}
        if set(subsets) == {"not listed"}
        else {name: dict(each) for name, each in subsets.items()},
        "notes": list(corpus.notes),
    }


def _count(names: Sequence[str]) -> dict[str, Any]:
    return {"count": len(names), "names": sorted(names)[:_MAX_RECORDED]}


def print_report(report: Mapping[str, Any], console: Console | None = None) -> None:
    """Print a report: a table with one column per class and, below it, exclusions and warnings.

    Args:
        report: of `build_report` and `describe_corpus`.
        console: where to print.
    """
    console = console or Console()

    def say(text: str, style: str = "") -> None:
        console.print(Text(text, style), highlight=False)  # not as markup: names may contain brackets

    labels = sorted(report["classes"], reverse=True)  # real before fake
    table = Table(title=Text(f"Prepared faces of {report['data']}"))
    table.add_column("")
    for label in labels:
        table.add_column(label, justify="right")
    shown = dict(_COUNTS)
    if all(_UNCHANGED in report["classes"][label] for label in labels):
        shown[_UNCHANGED] = "frames that the perturbation left as they were"
    for name, heading in shown.items():
        table.add_row(heading, *(str(report["classes"][label][name]) for label in labels))
    console.print(table)
    for subset, videos in report["official_split"].items():
        counts = " and ".join(f"{videos[label]} {label}" for label in labels if label in videos)
        say(f"Official split, {subset}: {counts} videos")
    if report["grouping"]:
        say("How images form videos:")
        for each in report["grouping"]:
            say(f"  {each['rule']}: {each['images']} images, {each['videos']} videos, e.g. {each['example']}")
    if report["quarantined"]:
        say(f"Quarantined (unreadable, excluded): {len(report['quarantined'])} files")
        for entry in report["quarantined"][:_MAX_LISTED]:
            say(f"  {entry['source']}: {entry['reason']}")
        if len(report["quarantined"]) > _MAX_LISTED:
            say("  … (the report lists all)")
        say("  To include them, replace them with readable files and rerun the same command.")
    if report["ignored"]:
        say("Not read:")
        for reason, found in report["ignored"].items():
            say(f"  {found['count']} {reason}: {_named(found)}")
    if report["links"]["count"]:
        say(f"Followed links to files outside the corpus: {report['links']['count']}, {_named(report['links'])}")
    if report["missing"]:
        say(
            f"Named in the corpus's own lists but missing on disk: {len(report['missing'])} files, e.g. "
            f"{', '.join(report['missing'][:_MAX_NAMED])}"
        )
    for warning in (*report["notes"], *report["grouping_warnings"]):
        say(f"Warning: {warning}", "yellow")


def _named(found: Mapping[str, Any]) -> str:
    return ", ".join(found["names"][:_MAX_NAMED]) + (", …" if found["count"] > _MAX_NAMED else "")
