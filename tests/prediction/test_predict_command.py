"""``deepfake-ms predict``: arguments, exit status, what is printed and written."""

import json
import shutil

import pytest
from drawn import SquareDetector, picture, write_video
from odd_files import ODD, clip, image

from deepfake_ms import predict
from deepfake_ms.errors import UserError
from deepfake_ms.prediction.record import FIELDS


@pytest.fixture
def command(call, monkeypatch, brightness, tmp_path):
    """The command with the detector of known answers."""
    monkeypatch.setattr("deepfake_ms.prediction.files._mtcnn", SquareDetector)
    monkeypatch.setattr("deepfake_ms.predict.load_detector", lambda source, device, prepared: brightness)
    (tmp_path / "run").mkdir()
    return lambda *arguments: call("predict", *map(str, arguments))


def lines(out):
    return [json.loads(line) for line in out.splitlines()]


def test_a_scored_file_as_table_and_as_json(command, tmp_path):
    clip()(tmp_path / "a.mp4")
    status, out, errors = command("run=run", "a.mp4")
    assert status == 0
    assert "1 scored, 0 abstained, 0 not read" in errors
    assert "TRAINED ON SYNTHETIC DATA" in out
    status, out, _ = command("a.mp4", "run=run", "--json")
    (line,) = lines(out)
    assert status == 0
    assert {name for names in FIELDS for name in names.split(", ")} == line.keys()
    assert (line["file"], line["status"], line["media"], line["reason"]) == ("a.mp4", "scored", "video", None)
    assert line["synthetic"] is True
    assert line["detector"]["checkpoint_sha256"]
    (track,) = line["tracks"]
    assert [face["time_s"] for face in track["faces"]] == [0, 0.5, 1, 1.5, 2]
    assert [frame["faces"] for frame in line["frames"]] == [1] * 5
    raw = sum(face["uncalibrated"] for face in track["faces"]) / 5
    assert track["uncalibrated"] == pytest.approx(raw)
    assert line["fake_probability"] == pytest.approx(raw**2 / (raw**2 + (1 - raw) ** 2))
    assert line["decision"] == ("fake" if raw > 0.4 else "real") == track["decision"]
    assert line["interval"][0] <= line["fake_probability"] <= line["interval"][1]
    assert line["subject_fake_probability"] == pytest.approx(raw)


def test_a_common_folder_is_named_once(command, tmp_path):
    for name in ("one/a.mp4", "two/b.mp4"):
        clip()(tmp_path / "folder" / name)
    _, out, _ = command("run=run", "folder")
    assert "files in folder" in out
    assert " one/a.mp4" in out
    _, out, _ = command("run=run", "folder/one/a.mp4")
    assert "files in" not in out
    assert "folder/one/a.mp4" in out


def test_two_people_are_scored_apart(command, tmp_path):
    """One in the light and one in the dark: the brighter one decides."""
    frames = []
    for _ in range(21):
        frame = picture((30, 50, 30), (95, 50, 30), shade=10)
        frame[:, 64:][frame[:, 64:].max(axis=2) < 100] = 250
        frames.append(frame)
    write_video(tmp_path / "two.mp4", frames)
    _, out, _ = command("run=run", "two.mp4", "--json")
    (line,) = lines(out)
    dark, bright = sorted(line["tracks"], key=lambda track: track["faces"][0]["box"][0])
    assert dark["fake_probability"] < bright["fake_probability"] == line["fake_probability"]
    assert line["track"] == bright["track"]
    assert len(dark["faces"]) == len(bright["faces"]) == 5


def test_exit_status_and_reasons(command, tmp_path):
    clip()(tmp_path / "good.mp4")
    clip(0)(tmp_path / "short.mp4")
    (tmp_path / "bad.mp4").write_bytes(b"")
    assert command("run=run", "good.mp4")[0] == 0
    for other in ("short.mp4", "bad.mp4"):
        status, out, _ = command("run=run", "good.mp4", other, "--json")
        assert (status, lines(out)[0]["status"]) == (3, "scored")
    assert command("run=run", "short.mp4", "--min-frames", "1")[0] == 0
    assert command("run=run", "good.mp4", "--min-face", "500")[0] == 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["a.mp4"], "give run=FOLDER or model=FOLDER once"),
        (["run=run"], "at least one file or folder"),
        (["run=run", "model=run", "a.mp4"], "once"),
        (["run=nowhere", "a.mp4"], "run=nowhere: there is no such folder"),
        (["run=run", "prepared=nowhere", "a.mp4"], "prepared=nowhere: there is no such folder; give the folder of the"),
        (["run=run", "https://example.org/a.mp4"], "is a URL, and nothing is downloaded"),
        (["run=run", "rtsp://camera/stream"], "is a URL"),
        (["run=run", "a.mp4", "--report"], "add --output DIR"),
        (["run=run", "a.mp4", "--video"], "add --output DIR"),
        (["run=run", "a.mp4", "--min-frames", "0"], "--min-frames"),
        (["run=run", "a.mp4", "--max-frames", "many"], "--max-frames: many is not a whole number of at least 1"),
        (["run=run", "a.mp4", "--device", "warp"], "--device warp cannot be used here"),
    ],
)
def test_bad_usage(command, arguments, sentence):
    status, out, errors = command(*arguments)
    assert (status, out) == (2, "")
    assert sentence in errors
    assert "Traceback" not in errors


def test_a_folder_that_is_no_run(call, tmp_path):
    (tmp_path / "empty").mkdir()
    status, _, errors = call("predict", "run=empty", "a.mp4")
    assert status == 2
    assert "run.json is missing" in errors


def test_prepared_faces_that_were_moved(call, trained, tmp_path):
    run = shutil.copytree(trained[0].folder, tmp_path / "run")
    (run / "evaluation" / "validation" / "selected" / "detector.json").unlink(missing_ok=True)
    (tmp_path / "a.png").write_bytes(b"")
    faces = shutil.move(trained[0].faces.folder, tmp_path / "faces")
    try:
        status, _, errors = call("predict", "run=run", "a.png", "--device", "cpu")
        assert (status, "give their folder with prepared=" in errors) == (2, True)
        status, _, errors = call("predict", "run=run", "prepared=faces", "a.png", "--device", "cpu")
        assert (status, "1 not read" in errors) == (3, True)
    finally:
        shutil.move(faces, trained[0].faces.folder)


def test_a_real_run_without_its_faces(call, trained, tmp_path, monkeypatch):
    """End to end with MTCNN: a drawn square is no face."""
    shutil.copytree(trained[0].folder, tmp_path / "run")
    image()(tmp_path / "a.png")
    status, out, _ = call("predict", "run=run", "a.png", "--json", "--device", "cpu")
    assert (status, lines(out)[0]["reason"]) == (3, "no face")


def test_outputs(command, tmp_path):
    """Files of equal names do not replace each other; what cannot be read has no report."""
    for folder in ("one", "two"):
        clip()(tmp_path / folder / "a.mp4")
    image()(tmp_path / "one" / "b.png")
    (tmp_path / "one" / "bad.mp4").write_bytes(b"")
    status, out, errors = command("run=run", "one", "two", "--output", "out", "--report", "--video")
    assert status == 3
    names = {path.name for path in (tmp_path / "out").iterdir()}
    pages = {"a.mp4.html", "a.mp4~2.html", "b.png.html"}
    assert names == {"predictions.jsonl", "a.mp4.mp4", "a.mp4~2.mp4", *pages}
    assert [line["file"] for line in lines((tmp_path / "out" / "predictions.jsonl").read_text())] == [
        *("one/a.mp4", "one/b.png", "one/bad.mp4", "two/a.mp4")
    ]
    assert "Written to out" in errors
    assert "bad.mp4" in out


def test_progress_names_the_rate(command, tmp_path):
    for number in range(4):
        clip(1)(tmp_path / "in" / f"{number}.mp4")
    errors = command("run=run", "in")[2]
    assert "scoring: 4 of 4 files" in errors
    assert "files/s" in errors
    assert "frames/s" in errors


def test_what_cannot_be_written_does_not_stop_the_others(command, tmp_path, monkeypatch):
    for name in ("a.mp4", "b.mp4"):
        clip()(tmp_path / name)

    def fail(path, prediction):
        if prediction.path.name == "a.mp4":
            raise UserError("a.mp4 cannot be annotated")
        path.write_text("written")

    monkeypatch.setattr("deepfake_ms.prediction.annotate.annotate_video", fail)
    status, _, errors = command("run=run", "a.mp4", "b.mp4", "--output", "out", "--video")
    assert status == 3
    assert "a.mp4 cannot be annotated" in errors
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"predictions.jsonl", "b.mp4.mp4"}


def test_unusual_files_have_reports_and_videos(command, tmp_path):
    for name in ("hdr.mp4", "alpha.mov", "alpha.png", "rotated.mp4", "animated.gif", "animated.webp", "odd_sides.mkv"):
        (odd,) = [each for each in ODD if each.name == name]
        odd.make(tmp_path / name)
    names = sorted(path.name for path in tmp_path.glob("*.*"))
    status, _, errors = command("run=run", *names, "--output", "out", "--report", "--video")
    assert status == 0, errors
    assert len(list((tmp_path / "out").glob("*.html"))) == 7
    assert len(list((tmp_path / "out").glob("*.mp4"))) == 5


def test_results_of_an_earlier_command_are_not_scored(command, tmp_path):
    """The output folder may lie in the folder that is searched."""
    clip()(tmp_path / "in" / "a.mp4")
    for _ in range(2):
        status, out, _ = command("run=run", "in", "--output", "in/out", "--video", "--json")
        assert (status, [line["file"] for line in lines(out)]) == (0, ["in/a.mp4"])
    assert sorted(path.name for path in (tmp_path / "in" / "out").iterdir()) == ["a.mp4.mp4", "predictions.jsonl"]


def test_annotated_copies_do_not_replace_videos(command, tmp_path):
    (tmp_path / "in").mkdir()
    clip()(tmp_path / "in" / "a.mp4")
    clip()(tmp_path / "in" / "a.mp4.mp4")
    before = (tmp_path / "in" / "a.mp4.mp4").read_bytes()
    status, _, errors = command("run=run", "in", "--output", "in", "--video")
    assert status == 2
    assert "give another folder with --output" in errors
    assert (tmp_path / "in" / "a.mp4.mp4").read_bytes() == before
    assert command("run=run", "in", "--output", "in", "--json")[0] == 0


def test_ctrl_c_keeps_what_is_scored(command, tmp_path, monkeypatch):
    for name in ("a.mp4", "b.mp4"):
        clip()(tmp_path / name)
    real = predict.predict_file

    def interrupted(detector, path, limits):
        if path.name == "b.mp4":
            raise KeyboardInterrupt
        return real(detector, path, limits)

    monkeypatch.setattr("deepfake_ms.predict.predict_file", interrupted)
    status, out, errors = command("run=run", "a.mp4", "b.mp4", "--output", "out")
    assert status == 130
    assert "a.mp4" in out
    assert "1 scored, 0 abstained, 0 not read" in errors
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert [line["file"] for line in lines((tmp_path / "out" / "predictions.jsonl").read_text())] == ["a.mp4"]


@pytest.mark.parametrize(
    "option", ["--min-face=nan", "--min-face=-1", "--min-face=x", "--min-frames=0", "--min-frames=x"]
)
def test_impossible_limits_are_named(command, option):
    status, _, errors = command("run=run", "a.mp4", option)
    assert status == 2
    assert option.partition("=")[2] in errors.splitlines()[-1]
    assert "_at_least" not in errors
