"""The report and the annotated video."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import av
import numpy as np
import pytest
from drawn import SquareDetector, picture, write_video
from odd_files import animation, clip, image

from deepfake_ms.errors import UserError
from deepfake_ms.prediction.annotate import MovingBoxes, annotate_video
from deepfake_ms.prediction.files import predict_file
from deepfake_ms.prediction.report import write_report
from deepfake_ms.prediction.timeline import draw_timeline, round_times
from deepfake_ms.prediction.verdict import Limits


def predicted(detector, path, limits=None):
    return predict_file(detector, path, limits, SquareDetector())


def page_of(detector, path, tmp_path, limits=None):
    write_report(tmp_path / "page.html", predicted(detector, path, limits), detector, limits or Limits())
    return (tmp_path / "page.html").read_text()


class Elements(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.found, self.open = [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_report_of_a_video(brightness, tmp_path):
    clip()(tmp_path / "a.mp4")
    page = page_of(brightness, tmp_path / "a.mp4", tmp_path)
    elements = Elements(page)
    assert not elements.open, "every element is closed"
    images = [attributes for tag, attributes in elements.found if tag == "img"]
    assert len(images) == 5 + 2 * 5, "five frames; five faces with their attributions"
    assert all(attributes["src"].startswith("data:image/jpeg;base64,") and attributes["alt"] for attributes in images)
    assert not re.search(r"(src|href)=\"?https?:", page), "no network"
    assert str(tmp_path) not in page, "no path"
    for text in ("SYNTHETIC DATA", "this report is no proof", "5 of 5", "Checkpoint (sha256)", "viewport"):
        assert text in page
    assert len(re.findall("<circle", page)) == 5


def test_report_names_what_it_cannot_decide(brightness, tmp_path):
    write_video(tmp_path / "nobody.mp4", [picture()] * 21)
    page = page_of(brightness, tmp_path / "nobody.mp4", tmp_path)
    assert "No decision: no face" in page
    assert "this report is no proof" in page
    assert "calibrated" not in page, "there is no probability"
    clip(0)(tmp_path / "short.mp4")
    assert "No decision: only 1 frame" in page_of(brightness, tmp_path / "short.mp4", tmp_path)


def test_report_of_an_animation_and_a_bounded_video(brightness, tmp_path):
    animation(3)(tmp_path / "a.webp")
    page = page_of(brightness, tmp_path / "a.webp", tmp_path)
    assert "only the first picture was read" in page
    assert "<svg" not in page, "one moment has no timeline"
    clip(3)(tmp_path / "a.mp4")
    page = page_of(brightness, tmp_path / "a.mp4", tmp_path, Limits(max_frames=3))
    assert "only the first 3 sampled frames were read" in page
    assert "3 of 3" in page


def test_names_are_escaped(brightness, tmp_path):
    path = tmp_path / "<script>alert(1)<b>.png"
    image()(path)
    page = page_of(brightness, path, tmp_path)
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_a_file_that_has_changed_is_named(brightness, tmp_path):
    clip()(tmp_path / "a.mp4")
    prediction = predicted(brightness, tmp_path / "a.mp4")
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(UserError, match=r"a\.mp4 has changed since it was scored \(zero bytes\)"):
        write_report(tmp_path / "page.html", prediction, brightness, Limits())
    assert not (tmp_path / "page.html").exists()


def test_timeline_places_dots_by_time_and_probability(brightness, tmp_path):
    frames = [picture((60, 50, 40))] * 11 + [picture()] * 11
    prediction = predicted(brightness, write_video(tmp_path / "a.mp4", frames))
    svg = ElementTree.fromstring(draw_timeline(prediction.tracks, prediction.frames, 0.6))
    dots = [(float(dot.get("cx")), float(dot.get("cy"))) for dot in svg.iter("circle")]
    (track,) = prediction.tracks
    assert len(dots) == len(track.faces) == 3
    assert np.diff([x for x, _ in dots]) == pytest.approx([(900 - 170) / 4] * 2, abs=0.2)
    heights = [15 + 200 * (1 - face.probability) for face in track.faces]
    assert [y for _, y in dots] == pytest.approx(heights, abs=0.1)
    ticks = [path for path in svg.iter("path") if path.get("stroke") == "#a01818"]
    assert len(ticks) == 2, "frames without a face"


@pytest.mark.parametrize(
    ("end", "times"),
    [
        (9.01, [0, 2, 4, 6, 8]),
        (2, [0, 0.5, 1, 1.5, 2]),
        (1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (300, [0, 50, 100, 150, 200, 250, 300]),
        (0.04, [0, 0.01, 0.02, 0.03, 0.04]),
    ],
)
def test_the_times_of_the_axis_are_round(end, times):
    assert round_times(end) == times


def frames_of(path):
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        frames = list(container.decode(video=0))
        return [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in frames]


def boxed(image):
    """Columns in which the colour of the first track's box is common."""
    blue = (image[..., 2].astype(int) - image[..., 0] > 25).sum(axis=0)
    return np.flatnonzero(blue > 30)


def test_annotated_video_follows_the_face_between_samples(brightness, tmp_path):
    pictures = [picture((60 + 8 * number, 120, 60), height=240, width=320, shade=160) for number in range(21)]
    write_video(tmp_path / "a.mp4", pictures)
    prediction = predicted(brightness, tmp_path / "a.mp4")
    boxes = MovingBoxes(prediction)
    for number in range(21):
        ((box, label, _),) = boxes.at(number)
        assert box == pytest.approx([30 + 8 * number, 90, 90 + 8 * number, 150], abs=2)
        assert label == f"1: P(fake) {prediction.tracks[0].faces[number // 5].probability:.2f}"
    annotate_video(tmp_path / "out.mp4", prediction)
    frames = frames_of(tmp_path / "out.mp4")
    assert [round(time, 2) for time, _ in frames] == [round(number / 10, 2) for number in range(21)]
    assert all(len(boxed(image)) for _, image in frames)


def test_annotation_ends_with_the_face_and_with_what_was_read(brightness, tmp_path):
    shown, empty = picture((160, 120, 60), height=241, width=321, shade=160), picture(height=241, width=321, shade=160)
    write_video(tmp_path / "a.mkv", [shown] * 11 + [empty] * 20, codec="ffv1")
    prediction = predicted(brightness, tmp_path / "a.mkv")
    annotate_video(tmp_path / "out.mp4", prediction)
    frames = frames_of(tmp_path / "out.mp4")
    assert frames[0][1].shape == (240, 320, 3), "even sides"
    assert [bool(len(boxed(image))) for _, image in frames] == [True] * 13 + [False] * 18
    annotate_video(tmp_path / "part.mp4", predicted(brightness, tmp_path / "a.mkv", Limits(max_frames=2)))
    assert len(frames_of(tmp_path / "part.mp4")) == 6


def test_upright_annotation(brightness, tmp_path):
    clip(rotation=90)(tmp_path / "a.mp4")
    annotate_video(tmp_path / "out.mp4", predicted(brightness, tmp_path / "a.mp4"))
    assert frames_of(tmp_path / "out.mp4")[0][1].shape == (128, 96, 3)
