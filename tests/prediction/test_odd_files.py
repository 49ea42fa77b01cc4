"""No file stops the others: each is scored, abstains or is named with one reason."""

import json
import os
import re

import numpy as np
import odd_files
import pytest
from drawn import SquareDetector
from odd_files import ABSTAINED, SCORED, UNREADABLE

from deepfake_ms.prediction.files import FIRST_PICTURE, predict_file
from deepfake_ms.prediction.verdict import Limits

REASONS = 250


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    return folder, list(odd_files.write_all(folder))


@pytest.fixture
def command(call, monkeypatch, brightness, tmp_path):
    """`deepfake-ms predict` with the detector of known answers."""
    monkeypatch.setattr("deepfake_ms.prediction.files._mtcnn", SquareDetector)
    monkeypatch.setattr("deepfake_ms.predict.load_detector", lambda *_: brightness)
    (tmp_path / "run").mkdir()
    return lambda *arguments: call("predict", f"run={tmp_path / 'run'}", *map(str, arguments))


def test_there_are_enough():
    assert len(odd_files.ODD) >= 55
    assert {odd.status for odd in odd_files.ODD} == {SCORED, ABSTAINED, UNREADABLE}


def test_all_in_one_command(folder, command, tmp_path):
    path, written = folder
    status, out, errors = command(*(odd.path(path) for odd in written), "--output", tmp_path / "out")
    assert status == 3
    assert "Traceback" not in out + errors
    lines = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    assert [os.fsencode(line["file"]) for line in lines] == [os.fsencode(odd.path(path)) for odd in written]
    wrong = {
        odd.name: (line["status"], line["reason"])
        for odd, line in zip(written, lines, strict=True)
        if not fits(odd, line)
    }
    assert not wrong
    counts = [sum(odd.status == each for odd in written) for each in (SCORED, ABSTAINED, UNREADABLE)]
    assert "{} scored, {} abstained, {} not read".format(*counts) in errors
    for text in ("zero bytes", "no face", "truncated", "new%0Aline%09", "[bold]markup[/bold]", "and 195 more faces"):
        assert text in out


def fits(odd: odd_files.Odd, line: dict) -> bool:
    """Whether a file has the expected status and, if it is not scored, one sentence with the expected reason."""
    reason = line["reason"]
    if odd.reason is None or reason is None:
        return line["status"] == odd.status and odd.reason == reason
    return line["status"] == odd.status and bool(re.search(odd.reason, reason)) and len(reason) < REASONS


def test_folders(folder, command, tmp_path):
    """A folder is searched; links to nothing and folders without media are named."""
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    odd_files.clip()(tmp_path / "in" / "deep" / "a.mp4")
    odd_files.clip()(tmp_path / "in" / ".hidden.mp4")
    (tmp_path / "in" / "notes.txt").write_text("text")
    (tmp_path / "in" / "gone.mp4").symlink_to(tmp_path / "nothing.mp4")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    status, out, _ = command(tmp_path / "in", tmp_path / "empty", "--json")
    found = {line["file"].removeprefix(f"{tmp_path}/"): line["reason"] for line in map(json.loads, out.splitlines())}
    assert status == 3
    assert found == {
        "in/deep/a.mp4": None,
        "in/gone.mp4": "links to nothing",
        "empty": "a folder without videos and images",
    }


def test_missing_and_special_files(brightness, tmp_path):
    assert "No such file" in predict_file(brightness, tmp_path / "gone.mp4").problem
    assert "No such file" in predict_file(brightness, tmp_path / "gone").problem
    os.mkfifo(tmp_path / "pipe.mp4")
    assert predict_file(brightness, tmp_path / "pipe.mp4").problem == "not a regular file"


def test_unreadable_file(brightness, tmp_path, monkeypatch):
    path = odd_files.clip()(tmp_path / "secret.mp4")
    path.chmod(0)
    if os.access(path, os.R_OK):  # the administrator may read everything

        def refuse(self, *_):
            raise PermissionError(13, "Permission denied", str(self))

        monkeypatch.setattr("pathlib.Path.open", refuse)
    assert predict_file(brightness, path).problem == "cannot be opened (Permission denied)"


def test_unreadable_folder(command, tmp_path, monkeypatch):
    odd_files.clip()(tmp_path / "in" / "open" / "a.mp4")
    closed = tmp_path / "in" / "closed"
    closed.mkdir()
    closed.chmod(0)
    if os.access(closed, os.R_OK):
        real = type(closed).iterdir

        def refuse(self):
            if self.name == "closed":
                raise PermissionError(13, "Permission denied", str(self))
            return real(self)

        monkeypatch.setattr("pathlib.Path.iterdir", refuse)
    status, out, _ = command(tmp_path / "in", "--json")
    closed.chmod(0o700)
    assert status == 3
    assert [json.loads(line)["reason"] for line in out.splitlines()] == [None, "cannot be opened"]


def test_animations_say_what_was_read(folder, brightness):
    path, _ = folder
    found = {
        name: predict_file(brightness, path / name, face_detector=SquareDetector())
        for name in ("animated.webp", "animated.png", "animated.gif", "face.png", "good.mp4")
    }
    assert {name: list(each.notes) for name, each in found.items()} == {
        "animated.webp": [FIRST_PICTURE],
        "animated.png": [FIRST_PICTURE],
        "animated.gif": [],
        "face.png": [],
        "good.mp4": [],
    }
    assert len(found["animated.gif"].frames) == 6


def test_long_videos_can_be_bounded(folder, brightness):
    path, _ = folder
    whole = predict_file(brightness, path / "long.mp4", face_detector=SquareDetector())
    part = predict_file(brightness, path / "long.mp4", Limits(max_frames=10), SquareDetector())
    assert (len(whole.frames), len(part.frames)) == (61, 10)
    assert part.frames == whole.frames[:10]
    assert list(part.notes) == ["only the first 10 sampled frames were read"]


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1), (11, 11), (13, 700)])
def test_tiny_images_do_not_break_mtcnn(brightness, tmp_path, shape):
    odd_files.image(pixels=np.full((*shape, 3), 128, np.uint8))(tmp_path / "a.png")
    assert predict_file(brightness, tmp_path / "a.png").verdict.reason == "no face"


def test_rotation_is_applied(folder, brightness):
    path, _ = folder
    for name in ("rotated.mp4", "rotated.jpg"):
        assert predict_file(brightness, path / name, face_detector=SquareDetector()).size in ((96, 128), (128, 96))
    assert predict_file(brightness, path / "rotated.mp4", face_detector=SquareDetector()).size == (96, 128)
