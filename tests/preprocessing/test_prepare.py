"""Complete runs: equal bytes after interruptions and with any number of workers; reasons for all excluded files."""

import errno
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn import SquareDetector, WholeSquareDetector, draw_corpus, picture, write_video
from preparing import SETTINGS, contents, prepare, report_of

from deepfake_ms.datasets import find_corpus
from deepfake_ms.errors import UserError
from deepfake_ms.manifest import LANDMARK_COLUMNS, read_manifest
from deepfake_ms.preprocessing import fingerprint
from deepfake_ms.preprocessing import prepare as prepare_module
from deepfake_ms.preprocessing.fingerprint import hash_contents
from deepfake_ms.preprocessing.prepare import prepare_corpus, unprepared_videos
from deepfake_ms.preprocessing.prepared import find_prepared, read_complete
from deepfake_ms.preprocessing.settings import PreparationSettings
from deepfake_ms.preprocessing.shards import Shard, lock_shard


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return draw_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def prepared(corpus, tmp_path_factory):
    return prepare(corpus, tmp_path_factory.mktemp("prepared"))


def test_manifest_rows_crops_and_description(corpus, prepared):
    manifest = read_manifest(prepared)
    assert len(manifest) == 6 * 5 + 3
    assert manifest.sample_id.is_unique
    assert manifest.groupby("label").video_id.nunique().to_dict() == {"fake": 3, "real": 4}
    video = manifest[manifest.video_id == "real/video0"].sort_values("frame_index")
    assert video.frame_index.tolist() == [0, 5, 10, 15, 20]
    assert np.allclose(video.time_s, [0, 0.5, 1, 1.5, 2])
    assert np.allclose(video.box_left, 25 + 2 * video.frame_index, atol=2)
    assert np.allclose(video[LANDMARK_COLUMNS[4:6]], 15.5, atol=1.5)  # the nose, at the centre of the crop
    images = manifest[manifest.video_id == "real/shots"]
    assert sorted(images.source) == [f"real/shots_{number}.png" for number in range(3)]
    assert images.time_s.eq(0).all()
    for row in manifest.itertuples():
        content = (prepared / row.crop).read_bytes()
        assert row.crop == f"crops/{row.video_id}/{row.frame_index:06d}.bmp"
        assert hashlib.sha256(content).hexdigest() == row.sha256
        crop = cv2.imread(str(prepared / row.crop))[..., ::-1]
        assert crop.shape == (32, 32, 3)
        assert crop[16, 16, 0] > 150 > 100 > crop[16, 16, 2]  # red, so the channels are in RGB order
    description = json.loads((prepared / "prepared.json").read_text())
    assert prepared.name == f"demo-{description['fingerprint']}"
    assert description["complete"]
    assert description["preparation"] == SETTINGS.as_dict()
    assert description["root"] == str(corpus.resolve())
    assert description["counts"] == {"sources": 9, "videos": 7, "faces": 33}
    assert not description["synthetic"]
    assert {"av", "torch", "facenet-pytorch", "deepfake_ms"} <= set(description["versions"])


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_the_number_of_workers_changes_nothing(corpus, prepared, tmp_path, workers):
    seen = []
    folder = prepare(corpus, tmp_path, workers, progress=lambda done: seen.append((done.videos_done, done.videos)))
    assert contents(folder) == contents(prepared)
    assert seen == [(done, 7) for done in range(8)]


def test_the_manifest_names_the_source_videos(tmp_path):
    for name in ("real", "fake"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture((60, 40, 36))[..., ::-1])
    (tmp_path / "files.csv").write_text("path,label,source\nreal.png,real,\nfake.png,fake,real\n")
    manifest = read_manifest(prepare(tmp_path / "files.csv", tmp_path / "prepared"))
    assert list(manifest.columns).index("source_video") == list(manifest.columns).index("identities") + 1
    assert manifest.set_index("video_id").source_video.fillna("none").to_dict() == {"fake": "real", "real": "none"}


def test_prepare_does_not_import_the_training_libraries():
    """They take seconds to import, in every worker process too."""
    program = "import sys, deepfake_ms.prepare; print({'lightning', 'timm', 'torchmetrics'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "set()\n"


def test_a_finished_run_is_not_run_again(corpus, prepared):
    def never():
        raise AssertionError("built a detector for a finished corpus")

    before = (prepared / "manifest.parquet").stat().st_mtime_ns
    assert prepare(corpus, prepared.parent, detector=never) == prepared
    assert (prepared / "manifest.parquet").stat().st_mtime_ns == before


RUN_SLOWLY = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], str(Path(sys.argv[1]).parent)]
from drawn import SlowSquareDetector
from test_prepare import prepare
if __name__ == "__main__":
    prepare(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), detector=SlowSquareDetector)
"""


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_killed_run_resumes_and_gives_the_same_bytes(corpus, prepared, tmp_path, workers):
    command = [sys.executable, "-c", RUN_SLOWLY, str(Path(__file__).parent), str(corpus), str(tmp_path), str(workers)]
    process = subprocess.Popen(command, start_new_session=True)
    folder = tmp_path / prepared.name
    deadline = time.monotonic() + 90
    while not (records := list(folder.glob("records/*/*.json"))) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert 1 <= len(records) < 7
    with pytest.raises(UserError, match=r"run `deepfake-ms prepare`"):
        find_prepared(tmp_path, "demo", corpus, {}, SETTINGS)
    assert_all_exit(process.pid)
    done_before = {path: path.stat().st_mtime_ns for path in folder.glob("records/*/*.json")}
    undone = next(path for path in prepared.glob("records/*/*.json") if path.name not in {r.name for r in records})
    leave_parts(folder, f"{undone.parent.name}/{undone.stem}")
    assert prepare(corpus, tmp_path) == folder
    assert {path: path.stat().st_mtime_ns for path in done_before} == done_before
    assert contents(folder) == contents(prepared)


def leave_parts(folder, video_id):
    """Write the files that a run leaves behind if it is killed in the middle of a video."""
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    for name in (
        f"crops/{video_id}/000000_0.candidate",
        f"crops/{video_id}/.000005_0.candidate.1.part",
        f"crops/{video_id}/000099.bmp",
        f"records/{Path(video_id).parent}/.{Path(video_id).name}.json.{socket.gethostname()[:40]}.{killed.pid}.1.part",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"half")


def assert_all_exit(session):
    """Wait until the workers of a killed run have exited by themselves."""
    deadline = time.monotonic() + 20
    while alive_in(session) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = alive_in(session)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def alive_in(session):
    alive = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its_session = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(its_session) == session and state != "Z":
            alive.append(int(stat.parent.name))
    return alive


@pytest.mark.slow
def test_twenty_kills_at_random_moments_give_the_same_bytes(corpus, prepared, tmp_path):
    """With two workers, killed at random moments."""
    command = [sys.executable, "-c", RUN_SLOWLY, str(Path(__file__).parent), str(corpus), str(tmp_path), "2"]
    folder = tmp_path / prepared.name
    random = np.random.default_rng(0)
    for _ in range(20):
        process = subprocess.Popen(command, start_new_session=True)
        try:
            process.wait(timeout=random.uniform(2.5, 7))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert_all_exit(process.pid)
        if read_complete(folder):
            shutil.rmtree(folder)
        else:
            shutil.rmtree(folder / "records" / "real", ignore_errors=True)  # so that all twenty runs have work to do
    assert prepare(corpus, tmp_path) == folder
    assert contents(folder) == contents(prepared)


def test_shards_give_the_same_folder_and_the_last_one_completes_it(corpus, prepared, tmp_path):
    for shard in ("3/3", "1/3"):
        folder = prepare(corpus, tmp_path, shard=Shard.parse(shard))
        assert not (folder / "manifest.parquet").exists()
    with pytest.raises(UserError, match=r"2 of 7 videos are not prepared, e\.g\. fake/video3"):
        prepare(corpus, tmp_path, merge_only=True)
    with pytest.raises(UserError, match="prepared faces"):
        find_prepared(tmp_path, "demo", corpus, {}, SETTINGS)
    assert prepare(corpus, tmp_path, shard=Shard(2, 3)) == folder
    assert contents(folder) == contents(prepared)
    assert prepare(corpus, tmp_path, merge_only=True) == folder


def test_a_video_does_not_clear_a_folder_with_its_name(tmp_path):
    root = tmp_path / "corpus"
    for name in ("a/b.mp4", "a.mp4"):
        write_video(root / name, [picture((60, 40, 30))] * 12)
    folder = prepare(root, tmp_path / "prepared")
    manifest = read_manifest(folder)
    assert set(manifest.video_id) == {"a", "a/b"}
    before = contents(folder)
    (folder / "records" / "a.json").unlink()
    (folder / "manifest.parquet").unlink()
    assert contents(prepare(root, tmp_path / "prepared")) == before


def test_each_item_belongs_to_one_shard():
    items = list(range(11))
    for count in (1, 2, 4, 11, 13):
        shares = [Shard(index, count).share_of(items) for index in range(1, count + 1)]
        assert sorted(chain.from_iterable(shares)) == items
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "1/0", "a/b", "-1/2"])
def test_wrong_shards_are_refused(text):
    with pytest.raises(UserError, match=f"shard={text}"):
        Shard.parse(text)


def test_two_processes_cannot_prepare_the_same_shard(corpus, prepared, tmp_path):
    name = prepared.name
    with lock_shard(tmp_path, name, Shard(1, 2)):
        for shard in (Shard(1, 2), Shard(), Shard(1, 3)):
            with pytest.raises(UserError, match="Another process is preparing"):
                prepare(corpus, tmp_path, shard=shard)
        prepare(corpus, tmp_path, shard=Shard(2, 2))
    folder = prepare(corpus, tmp_path)
    assert contents(folder) == contents(prepared)


def test_hashes_are_cached_while_the_files_do_not_change(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint, "MIN_CACHED_SIZE", 0)
    sources = find_corpus("folder", corpus).sources
    digests = hash_contents(sources, tmp_path, first=3, threads=2)
    assert digests == [hashlib.sha256(source.path.read_bytes()).hexdigest() for source in sources]
    for entry in tmp_path.glob("*.json"):
        entry.write_text(entry.read_text().replace('"sha256": "', '"sha256": "cached '))
    assert hash_contents(sources, tmp_path) == [f"cached {digest}" for digest in digests]
    os.utime(sources[0].path)
    assert hash_contents(sources, tmp_path) == [digests[0], *(f"cached {digest}" for digest in digests[1:])]


def test_a_folder_is_not_resumed_with_other_library_versions(corpus, tmp_path):
    folder = prepare(corpus, tmp_path, shard=Shard(1, 2))
    description = json.loads((folder / "prepared.json").read_text())
    description["versions"]["torch"] = "1.0"
    (folder / "prepared.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match=r"torch 1\.0 then, .* now"):
        prepare(corpus, tmp_path, shard=Shard(2, 2))


def test_faces_at_the_edge_are_kept_and_counted(tmp_path):
    root = tmp_path / "corpus"
    root.mkdir()
    places = {"inside": (60, 40), "over the edge": (12, 40), "an eye outside": (5, 40)}
    for name, place in places.items():
        cv2.imwrite(str(root / f"{name}.png"), picture((*place, 30))[..., ::-1])
    folder = prepare(root, tmp_path / "prepared", detector=WholeSquareDetector)
    counts = report_of(folder)["classes"]["unlabelled"]
    assert (counts["faces_kept"], counts["faces_over_edge"], counts["eyes_outside"]) == (3, 2, 1)


def test_only_faces_of_comparable_size_count_as_several(tmp_path):
    root = tmp_path / "corpus"
    root.mkdir()
    for number, sides in enumerate([(40, 24), (40, 16), (40,)]):
        faces = [(40 + 50 * place, 40, side) for place, side in enumerate(sides)]
        cv2.imwrite(str(root / f"a_{number}.png"), picture(*faces)[..., ::-1])
    assert report_of(prepare(root, tmp_path / "prepared"))["classes"]["unlabelled"]["several_faces"] == 1


def test_listed_videos_that_the_folders_lack_are_reported(corpus, tmp_path):
    found = replace(find_corpus("folder", corpus), missing=("real/gone.mp4",))
    folder = prepare_corpus(found, "demo", SETTINGS, tmp_path, make_detector=SquareDetector)
    assert report_of(folder)["missing"] == ["real/gone.mp4"]


def test_unreadable_files_are_quarantined_and_the_rest_is_prepared(tmp_path):
    root = draw_corpus(tmp_path / "corpus", videos=2)
    (root / "real" / "empty.mp4").touch()
    (root / "real" / "shots_1.png").write_bytes(b"<html>gone</html>")
    noise = [np.random.default_rng(i).integers(0, 255, (96, 128, 3), np.uint8) for i in range(60)]
    cut = write_video(
        root / "fake" / "cut.mp4", [picture((60, 40, 30))] * 30 + noise, options={"movflags": "faststart"}
    )
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 2 // 3])
    folder = prepare(root, tmp_path / "prepared")
    report = report_of(folder)
    assert [entry["source"] for entry in report["quarantined"]] == [
        "fake/cut.mp4",
        "real/empty.mp4",
        "real/shots_1.png",
    ]
    assert report["quarantined"][1]["reason"] == "zero bytes"
    real = report["classes"]["real"]
    assert (real["videos_found"], real["videos_read"], real["videos_quarantined"]) == (3, 2, 1)
    assert report["classes"]["fake"]["videos_quarantined"] == 1
    manifest = read_manifest(folder)
    assert sorted(manifest.video_id.unique()) == ["fake/video1", "real/shots", "real/video0"]
    # The readable frames of the cut video show a face, but none of them is kept.
    assert not (folder / "crops" / "fake" / "cut").exists()
    assert not list(folder.rglob("*.part"))


class Fragile(SquareDetector):
    """Fails for bright pictures, as a detector may for sizes that nobody thought of."""

    def detect(self, images):
        for image in images:
            if image.min() > 100:
                raise ZeroDivisionError("a face\nof no size")
            yield self._detect(image.astype(int))


def test_any_exception_quarantines_its_file_and_the_rest_is_prepared(tmp_path):
    root = draw_corpus(tmp_path / "corpus", videos=2)
    write_video(root / "fake" / "bright.mp4", [picture((60, 40, 30))] * 12 + [picture(shade=200)] * 12)
    cv2.imwrite(str(root / "real" / "shots_1.png"), picture(shade=200))
    folder = prepare(root, tmp_path / "prepared", detector=Fragile)
    reasons = {entry["source"]: entry["reason"] for entry in report_of(folder)["quarantined"]}
    assert reasons == dict.fromkeys(("fake/bright.mp4", "real/shots_1.png"), "ZeroDivisionError: a face of no size")
    manifest = read_manifest(folder)
    assert sorted(manifest.video_id.unique()) == ["fake/video1", "real/shots", "real/video0"]
    assert sorted(manifest[manifest.video_id == "real/shots"].frame_index) == [0, 2]
    assert not (folder / "crops/fake/bright").exists()


def test_a_detector_that_always_fails_quarantines_everything_and_says_why(tmp_path):
    write_video(tmp_path / "corpus/a.mp4", [picture(shade=200)] * 12)
    with pytest.raises(UserError, match=r"None of the corpus's files can be read, e\.g\. a\.mp4 \(ZeroDivisionError"):
        prepare(tmp_path / "corpus", tmp_path / "prepared", detector=Fragile)


@pytest.mark.parametrize(
    "name",
    ["n" * 251 + ".png", "ä" * 125 + ".mp4", "caf\udce9.png", "a\\b.mp4", "talk [abcDEF12345].png", "two\nlines.png"],
)
def test_files_with_unusual_names_are_prepared(tmp_path, name):
    root = tmp_path / "corpus"
    root.mkdir()
    if name.endswith(".png"):
        path = root / name
        path.write_bytes(cv2.imencode(".png", picture((60, 40, 30))[..., ::-1])[1].tobytes())
    else:
        write_video(tmp_path / "a.mp4", [picture((60, 40, 30))] * 5).rename(root / name)
    folder = prepare(root, tmp_path / "prepared")
    (row,) = read_manifest(folder).itertuples()
    assert (folder / row.crop).is_file()
    row.video_id.encode()
    assert read_complete(folder)


def test_a_file_that_cannot_be_opened_is_quarantined(corpus, tmp_path, monkeypatch):
    """And once it can be opened, the corpus is another one."""
    root = shutil.copytree(corpus, tmp_path / "corpus")
    forbidden = root / "real/video0.mp4"
    opened = Path.open

    def refuse(path, *args, **options):
        if path == forbidden:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **options)

    monkeypatch.setattr(Path, "open", refuse)
    without = prepare(root, tmp_path / "prepared")
    assert [(each["source"], each["reason"]) for each in report_of(without)["quarantined"]] == [
        ("real/video0.mp4", "cannot be opened (Permission denied)")
    ]
    monkeypatch.undo()
    assert prepare(root, tmp_path / "prepared") != without


@pytest.mark.parametrize("at", ["crop", "record", "manifest", "report"])
def test_a_full_disk_is_one_sentence_and_the_next_run_continues(corpus, prepared, tmp_path, monkeypatch, at):
    folder = tmp_path / prepared.name
    full = {"crop": "crops/", "record": "records/", "manifest": "/.manifest.parquet", "report": "/.report.json"}[at]
    opened, count = Path.open, 0

    def limited(path, mode="r", *args, **options):
        nonlocal count
        if "w" in mode and full in str(path):
            count += 1
            if count == (4 if at in ("crop", "record") else 1):
                opened(path, mode, *args, **options).close()  # an empty file remains
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return opened(path, mode, *args, **options)

    monkeypatch.setattr(Path, "open", limited)
    with pytest.raises(UserError, match=r"No space left on device; free space .* resumes where it stopped\.$"):
        prepare(corpus, tmp_path)
    monkeypatch.undo()
    assert read_complete(folder) is None
    assert contents(prepare(corpus, tmp_path)) == contents(prepared)


def test_two_shards_that_finish_together_write_the_manifest_once(corpus, prepared, tmp_path, monkeypatch):
    both, finished = threading.Barrier(2), []

    def unprepared(*arguments):
        both.wait(60)  # until both shards have extracted everything
        return unprepared_videos(*arguments)

    def finish(*arguments):
        finished.append(arguments)
        time.sleep(0.2)
        return whole_finish(*arguments)

    whole_finish = prepare_module._finish
    monkeypatch.setattr(prepare_module, "unprepared_videos", unprepared)
    monkeypatch.setattr(prepare_module, "_finish", finish)
    with ThreadPoolExecutor(2) as pool:
        shards = [pool.submit(prepare, corpus, tmp_path, shard=Shard(number, 2)) for number in (1, 2)]
        folders = {shard.result() for shard in shards}
    assert len(finished) == 1
    assert contents(folders.pop()) == contents(prepared)


def test_the_report_says_how_images_were_grouped_and_what_was_not_read(corpus, tmp_path):
    root = shutil.copytree(corpus, tmp_path / "corpus")
    (root / "real/notes.txt").touch()
    folder = prepare(root, tmp_path / "prepared")
    report = report_of(folder)
    assert report["grouping"] == [
        {
            "rule": "images named VIDEO_12: frame 12 of VIDEO",
            "images": 3,
            "videos": 1,
            "example": "real/shots_0.png is frame 0 of real/shots",
        }
    ]
    assert report["ignored"] == {"of a type that cannot be read here": {"count": 1, "names": ["real/notes.txt"]}}
    (root / "real/notes.txt").unlink()
    assert prepare(root, tmp_path / "prepared") == folder
    assert report_of(folder)["ignored"] == {}


def test_frames_that_count_as_videos_are_warned_of(tmp_path):
    (tmp_path / "corpus").mkdir()
    for number in range(6):
        cv2.imwrite(str(tmp_path / f"corpus/{number}.png"), picture((60, 40, 30), shade=30 + number)[..., ::-1])
    (warning,) = report_of(prepare(tmp_path / "corpus", tmp_path / "prepared"))["grouping_warnings"]
    assert "5 of 5 neighbouring images that count as different videos look the same" in warning


@pytest.mark.parametrize(("face", "left"), [("largest", 80), ("first", 80), ("tracked", 24)])
def test_the_face_of_each_frame_is_chosen_as_configured(tmp_path, face, left):
    (tmp_path / "corpus").mkdir()
    for number, faces in enumerate([[(40, 40, 40)], [(40, 40, 32), (98, 40, 36)]]):
        cv2.imwrite(str(tmp_path / f"corpus/a_{number}.png"), picture(*faces)[..., ::-1])
    folder = prepare(tmp_path / "corpus", tmp_path / "prepared", settings=replace(SETTINGS, face=face))
    assert np.allclose(read_manifest(folder).box_left, [20, left], atol=1)


def test_dropped_frames_and_several_faces_are_counted(tmp_path):
    dull = picture()
    cv2.rectangle(dull, (40, 30), (69, 59), (105, 30, 30), -1)
    images = [picture((40, 40, 36), (100, 40, 20)), picture((100, 40, 20), (44, 40, 34)), picture(), dull]
    (tmp_path / "corpus").mkdir()
    for number, image in enumerate(images):
        cv2.imwrite(str(tmp_path / "corpus" / f"a_{number}.png"), image[..., ::-1])
    folder = prepare(tmp_path / "corpus", tmp_path / "prepared")
    counts = report_of(folder)["classes"]["unlabelled"]
    assert (counts["frames_read"], counts["faces_kept"], counts["several_faces"]) == (4, 2, 2)
    assert (counts["dropped_no_face"], counts["dropped_low_probability"]) == (1, 1)
    assert np.allclose(read_manifest(folder).box_left, [22, 27], atol=1)  # one face per frame


def test_a_corpus_without_faces_or_readable_files_is_refused(tmp_path):
    write_video(tmp_path / "blank" / "a.mp4", [picture()] * 12)
    with pytest.raises(UserError, match="No face was found"):
        prepare(tmp_path / "blank", tmp_path / "prepared")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.mp4").touch()
    with pytest.raises(UserError, match=r"a\.mp4 \(zero bytes\)"):
        prepare(tmp_path / "broken", tmp_path / "prepared")


class Dying:
    def detect(self, images):
        os._exit(9)


@pytest.mark.slow
def test_a_dead_worker_is_reported(corpus, tmp_path):
    with pytest.raises(UserError, match="fewer workers"):
        prepare(corpus, tmp_path, workers=1, detector=Dying)


@pytest.mark.slow
def test_faces_are_found_in_real_videos(shared, tmp_path):
    root = shared / "real-samples" / "videos"
    folder = prepare_corpus(find_corpus("folder", root), "samples", PreparationSettings(), tmp_path)
    counts = report_of(folder)["classes"]["unlabelled"]
    assert counts["videos_read"] == 5
    assert counts["faces_kept"] >= 0.95 * counts["frames_read"]
