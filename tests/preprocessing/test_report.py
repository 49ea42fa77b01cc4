"""The counts of the report and how it is printed."""

from io import StringIO
from pathlib import Path

from rich.console import Console

from deepfake_ms.datasets import Corpus
from deepfake_ms.preprocessing.report import build_report, describe_corpus, print_report


def record(label, rows=2, files=1, quarantined=(), **counts):
    zeros = {"frames_read": rows, "dropped_no_face": 0, "dropped_low_probability": 0, "several_faces": 0}
    zeros |= {"faces_over_edge": 0, "eyes_outside": 0}
    return (
        {"label": label, "media": "video", "rows": [{}] * rows, "files": files, "quarantined": list(quarantined)}
        | zeros
        | counts
    )


def test_videos_and_frames_are_counted_per_class():
    damaged = {"source": "real/[b].mp4", "label": "real", "reason": "zero bytes"}
    report = build_report(
        "demo",
        [
            record("real", several_faces=1),
            record("real", rows=0, quarantined=[damaged]),
            record("real", files=2, quarantined=[damaged | {"source": "real/a_1.jpg"}]),
            record("fake", rows=0, frames_read=3, dropped_no_face=2, dropped_low_probability=1),
        ],
    )
    assert report["classes"]["real"] == {
        "videos_found": 3,
        "videos_read": 2,
        "videos_quarantined": 1,
        "videos_without_face": 0,
        "frames_read": 4,
        "faces_kept": 4,
        "dropped_no_face": 0,
        "dropped_low_probability": 0,
        "several_faces": 1,
        "faces_over_edge": 0,
        "eyes_outside": 0,
    }
    fake = report["classes"]["fake"]
    assert (fake["videos_without_face"], fake["frames_read"], fake["dropped_no_face"]) == (1, 3, 2)
    assert [entry["source"] for entry in report["quarantined"]] == ["real/[b].mp4", "real/a_1.jpg"]

    console = Console(width=80, record=True, file=StringIO())
    corpus = Corpus(Path("root"), (), ignored={"hidden": ["real/[c].mp4"]}, links=["real/[d]"], notes=["[e] is empty"])
    print_report(report | describe_corpus(corpus), console)
    text = console.export_text()
    assert "frames dropped: low probability" in text
    assert "real/[b].mp4: zero bytes" in text
    assert "1 hidden: real/[c].mp4" in text
    assert "outside the corpus: 1, real/[d]" in text
    assert "Warning: [e] is empty" in text
    assert text.index("real") < text.index("fake")
