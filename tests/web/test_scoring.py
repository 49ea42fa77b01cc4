"""From a file to a report or to one sentence, within the bounds."""

import re
from dataclasses import replace

import numpy as np
import odd_files
import pytest
from drawn import SquareDetector, picture, write_video
from odd_files import ABSTAINED, SCORED, UNREADABLE
from squares import brightness, squares

from deepfake_ms.errors import UserError
from deepfake_ms.web.bounds import Bounds, check_media
from deepfake_ms.web.scoring import _without_paths, scorer
from deepfake_ms.web.worker import FAILED

LONGEST_SENTENCE = 260
TOO_LONG = {"long.mp4"}


@pytest.fixture(scope="module")
def answer():
    return squares(Bounds())[1]


def test_report_of_a_video(answer, tmp_path):
    odd_files.clip()(tmp_path / "my clip.mp4")
    html = answer(tmp_path / "my clip.mp4")
    for part in ("my clip.mp4", "SYNTHETIC DATA", "Timeline", "<svg", "<h3>Face 1</h3>", "Grad-CAM", "red squares"):
        assert part in html
    assert html.count("data:image/jpeg") == 5 + 2 * 5, "frames with boxes; faces and their attribution"
    assert str(tmp_path) not in html
    assert "<script" not in html
    assert html.index("Training data") < html.index("2 per second")


@pytest.mark.parametrize("status", [UNREADABLE, ABSTAINED, pytest.param(SCORED, marks=pytest.mark.slow)])
def test_every_odd_file(answer, tmp_path, status):
    """A report or one sentence, without a path or a kind of exception."""
    for odd in odd_files.write_all(tmp_path / "odd", lambda odd: odd.status == status):
        path = odd.path(tmp_path / "odd")
        try:
            html, sentence = answer(path), ""
        except UserError as error:
            html, sentence = "", str(error)
        expected = odd.status == UNREADABLE or odd.name in TOO_LONG
        assert bool(sentence) == expected, (odd.name, sentence)
        assert str(tmp_path) not in html + sentence, odd.name
        assert len(sentence) < LONGEST_SENTENCE
        assert not re.search(r"\w+Error|\n|/", sentence), sentence
        assert "<script>" not in html
        if not sentence and odd.reason:
            assert f"No decision: {odd.reason}" in html


def test_too_long(tmp_path):
    path = write_video(tmp_path / "a.mp4", [picture()] * 5, times=[0, 1, 2, 3, 9])
    check_media(path, Bounds(seconds=10))
    with pytest.raises(UserError, match=r"The video lasts \d s, and 8 s are accepted"):
        check_media(path, Bounds(seconds=8))


def test_longer_than_its_header_says(tmp_path):
    """Without a header, what is read is bounded."""
    images = [picture(odd_files.FACE)] * 60
    write_video(tmp_path / "a.mkv", images, options={"live": "1"})
    html = squares(Bounds(seconds=2))[1](tmp_path / "a.mkv")
    assert "only the first 5 sampled frames were read" in html


def test_too_many_pixels(tmp_path):
    odd_files.image()(tmp_path / "a.png")
    odd_files.clip(0)(tmp_path / "a.mp4")
    odd_files.bomb(tmp_path / "bomb.png")
    for name in ("a.png", "a.mp4"):
        check_media(tmp_path / name, Bounds(megapixels=0.0123))
        with pytest.raises(UserError, match=r"The picture has 0\.0 megapixels, and 0\.012 are accepted"):
            check_media(tmp_path / name, Bounds(megapixels=0.012))
    with pytest.raises(UserError, match="too many megapixels"):
        check_media(tmp_path / "bomb.png", Bounds())


def test_unforeseen_paths(tmp_path, capsys):
    """An error that names files of this machine."""
    odd_files.clip()(tmp_path / "a.mp4")

    class Broken(SquareDetector):
        def detect(self, images):
            raise OSError(2, "No such file or directory", "/srv/secret models/x/weights.pt")

    detector = brightness()
    with pytest.raises(UserError) as caught:
        scorer(detector, Bounds(), Broken())[1](tmp_path / "a.mp4")
    assert str(caught.value) == FAILED
    assert "weights.pt" in capsys.readouterr().err, "for whoever runs the page"


def test_paths_in_sentences(tmp_path):
    path = tmp_path / "my [clip].mp4"
    found = _without_paths(f"{path} is bad; see '/srv/models/weights.pt' and C:\\data\\x.mp4 at 30/s.", path)
    assert found == "my [clip].mp4 is bad; see '…' and … at 30/s."


def test_facts():
    detector = brightness(synthetic=False)
    facts, _ = scorer(detector, Bounds(), SquareDetector())
    assert facts["synthetic"] is False
    assert facts["card"] == {"Training data": "red squares", "Frames": "2 per second"}
    assert any("smaller than 8 pixels" in each for each in facts["abstains"])
    unknown = replace(detector, reference=replace(detector.reference, smallest_face=0.0))
    assert not any("smaller" in each for each in scorer(unknown, Bounds(), SquareDetector())[0]["abstains"])
    assert np.isfinite(detector.thresholds["video"])
