"""Full disks, read-only folders, two starts in one folder, links and paths that leave the corpus."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from whole_run import BASE, FAMILIES, SAVED_EVERY, Workshop, assert_as_undisturbed
from writes import kill_at

from deepfake_ms.datasets import find_corpus
from deepfake_ms.errors import UserError
from deepfake_ms.files import remove_abandoned
from deepfake_ms.training.checkpoint_files import BackgroundCheckpoints
from deepfake_ms.training.run_folder import only_start

WRITTEN = (
    *("last.ckpt", "best.ckpt", "previous.ckpt", ".best.ckpt.sha256.json", "chain.json", "metrics.csv", "run.json"),
    *("split.parquet", "split_audit.json", "HASH.json", "predictions.parquet", "scores.json", "videos.csv"),
    "test_evaluations.jsonl",
)


@pytest.fixture
def workshop(tmp_path, faces) -> Workshop:
    return Workshop(tmp_path, faces, FAMILIES["genconvit_ed"])


@pytest.mark.fault("Storage", "disk full while a file of a run is written")
@pytest.mark.parametrize(
    "file", [name if name == "last.ckpt" else pytest.param(name, marks=pytest.mark.slow) for name in WRITTEN]
)
def test_a_full_disk_is_one_sentence_and_the_run_continues(undisturbed, workshop, file):
    writes = undisturbed.writes()
    event = "os.link" if file == "previous.ckpt" else "open"
    number = [
        number for number, write in enumerate(writes) if write.event == event and write.path.endswith(f"/{file}")
    ][-1]
    (code,) = workshop.start(kill_at(writes, number, 0, survivable=True))
    # A link needs no space, and a note of a digest is only a cache; then the next larger file does not fit.
    assert code == 2, workshop.printed
    assert "the file is too large: raise the limit (ulimit -f); the same command continues" in workshop.printed
    assert "Traceback" not in workshop.printed
    if file not in ("previous.ckpt", ".best.ckpt.sha256.json"):
        assert f"{file.replace('HASH', '')}" in workshop.printed
    assert not list(workshop.folder.rglob("*.part"))
    assert workshop.start() == [0], workshop.printed
    assert_as_undisturbed(workshop, undisturbed)


@pytest.mark.slow
@pytest.mark.fault("Storage", "disk full while a checkpoint is written in the background")
@pytest.mark.parametrize("place", [0, 3, -1])
def test_a_full_disk_in_the_background_is_one_sentence_and_the_run_continues(undisturbed, workshop, place):
    writes, more = undisturbed.writes(), ["trainer.background_checkpoints=true"]
    saves = [number for number, write in enumerate(writes) if write.event == "open" and write.path.endswith(".ckpt")]
    (code,) = workshop.start(kill_at(writes, saves[place], 0, survivable=True), more=more)
    assert code == 2, workshop.printed
    assert "the file is too large: raise the limit (ulimit -f); the same command continues" in workshop.printed
    assert "Traceback" not in workshop.printed
    assert not list(workshop.folder.rglob("*.part"))
    assert workshop.start(more=more) == [0], workshop.printed
    assert_as_undisturbed(workshop, undisturbed, lost=SAVED_EVERY * (1 + BackgroundCheckpoints.WAITING))


def in_own_mounts(folder: Path, script: str) -> subprocess.CompletedProcess:
    """Run a shell script that may mount; skips where that is not allowed."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("this user may not mount")
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", script],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PY": sys.executable},
        capture_output=True,
        text=True,
        timeout=250,
    )


def write_images(root: Path, count: int = 8) -> Path:
    """A corpus of noise images, in which no face is found."""
    for label in ("real", "fake"):
        (root / label).mkdir(parents=True)
        for number in range(count):
            image = np.random.default_rng(number).integers(0, 255, (64, 64, 3), dtype=np.uint8)
            cv2.imwrite(str(root / label / f"v{number}.png"), image)
    return root


MINIATURE = (
    "data=miniature workers=0 +data.draw.identities=8 +data.draw.videos_per_identity=1 +data.draw.youtube_people=2 "
    "+data.draw.fakes=6 +data.draw.seconds=2 +data.draw.fps=1 data.root=corpus"
)


@pytest.mark.slow
@pytest.mark.fault("Storage", "real full disk (tmpfs) while crops, records and manifest are written")
@pytest.mark.parametrize("kilobytes", [8, 60, 400, 1500])
def test_a_full_disk_stops_a_preparation_which_then_continues(tmp_path, kilobytes):
    script = f"""
    set -e
    mkdir prepared
    $PY -m deepfake_ms.prepare {MINIATURE} prepared_root=whole > whole.txt 2>&1
    mount -t tmpfs -o size={kilobytes}k none prepared
    set +e
    $PY -m deepfake_ms.prepare {MINIATURE} > first.txt 2>&1; echo $? > first.code
    mount -o remount,size=100m prepared
    $PY -m deepfake_ms.prepare {MINIATURE} > second.txt 2>&1; echo $? > second.code
    cp -r prepared copied
    """
    done = in_own_mounts(tmp_path, script)
    assert done.returncode == 0, done.stderr
    first = (tmp_path / "first.txt").read_text()
    assert (tmp_path / "first.code").read_text().strip() == "2", first
    assert "No space left on device; free space there" in first or "no space is left on the disk" in first
    assert "Traceback" not in first
    assert (tmp_path / "second.code").read_text().strip() == "0", (tmp_path / "second.txt").read_text()
    trees = [
        {path.relative_to(root): path.read_bytes() for path in root.glob("*/crops/**/*.bmp")}
        for root in (tmp_path / "whole", tmp_path / "copied")
    ]
    assert trees[0] == trees[1] != {}
    manifests = [
        next(root.glob("*/manifest.parquet")).read_bytes() for root in (tmp_path / "whole", tmp_path / "copied")
    ]
    assert manifests[0] == manifests[1]
    assert not list((tmp_path / "copied").rglob("*.part"))


@pytest.mark.slow
@pytest.mark.fault("Storage", "read-only folder")
def test_read_only_faces_are_trained_on_and_a_read_only_disk_is_one_sentence(faces, tmp_path):
    overrides = " ".join((*BASE, *FAMILIES["genconvit_ed"], "prepared=faces"))
    script = f"""
    set -e
    mkdir faces runs other
    cp -r {faces}/. faces
    rm -rf faces/audits
    mount --bind faces faces
    mount -o remount,ro,bind faces
    $PY -m deepfake_ms.train {overrides} > first.txt 2>&1
    mount -t tmpfs -o ro none other
    set +e
    $PY -m deepfake_ms.train {overrides} runs_root=other > second.txt 2>&1; echo $? > second.code
    $PY -m deepfake_ms.prepare data=folder data.root=faces prepared_root=other > third.txt 2>&1; echo $? > third.code
    """
    done = in_own_mounts(tmp_path, script)
    assert done.returncode == 0, (tmp_path / "first.txt").read_text()
    for name in ("second", "third"):
        said = (tmp_path / f"{name}.txt").read_text()
        assert (tmp_path / f"{name}.code").read_text().strip() == "2", said
        assert "Read-only file system" in said
        assert "Traceback" not in said


@pytest.mark.fault("Storage", "two starts of a run in one folder")
def test_a_second_start_is_refused_while_the_first_one_runs(undisturbed, workshop):
    folder = workshop.folder / undisturbed.run.relative_to(undisturbed.folder)
    with only_start(folder):
        assert workshop.start() == [2]
    assert "is being trained by another process" in workshop.printed
    assert not (folder / "run.json").exists()


@pytest.mark.slow
@pytest.mark.fault("Storage", "two preparations in one folder")
def test_two_preparations_of_the_same_corpus(tmp_path):
    command = [sys.executable, "-m", "deepfake_ms.prepare", *MINIATURE.split()]
    options = {"cwd": tmp_path, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    draw = subprocess.run([*command, "prepared_root=elsewhere"], **options | {"stdout": None}, timeout=250)
    assert draw.returncode == 0
    both = [subprocess.Popen(command, **options) for _ in range(2)]
    said = [process.communicate(timeout=250)[0] for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes in ([0, 2], [0, 0]), said
    assert "Traceback" not in "".join(said)
    if codes == [0, 2]:
        assert "Another process is preparing" in "".join(said)
    (one,), (other,) = ((tmp_path / name).glob("*/manifest.parquet") for name in ("prepared", "elsewhere"))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.fault("Storage", "clock jumps back and forth")
@pytest.mark.parametrize("shift_s", [-400 * 86400, pytest.param(400 * 86400, marks=pytest.mark.slow)])
def test_files_of_another_time_change_nothing(undisturbed, faces, tmp_path, shift_s):
    """Nothing is decided by the age of a file, apart from the removal of other hosts' partial files."""
    copy = Workshop(tmp_path / "copy", faces, undisturbed.overrides)
    shutil.copytree(undisturbed.folder, copy.folder)
    for path in copy.folder.rglob("*"):
        os.utime(path, (time.time() + shift_s,) * 2)
    before = {path: path.read_bytes() for path in copy.run.rglob("*.ckpt")}
    remove_abandoned(copy.folder)
    assert copy.start() == [0], copy.printed
    assert "3 of 3 stages are already finished" in copy.printed
    assert {path: path.read_bytes() for path in copy.run.rglob("*.ckpt")} == before


# --- links and paths


@pytest.mark.fault("Storage", "links out of the corpus are reported, dangling and circular ones skipped")
def test_links_are_reported(tmp_path):
    root, outside = write_images(tmp_path / "corpus", 2), tmp_path / "outside"
    shutil.copytree(root / "real", outside)
    (root / "real/folder").symlink_to(outside)
    (root / "real/file.png").symlink_to(outside / "v0.png")
    (root / "real/nowhere.png").symlink_to(tmp_path / "nowhere.png")
    (root / "real/circle").symlink_to(root)
    corpus = find_corpus("folder", root)
    assert set(corpus.links) == {"real/folder", "real/file.png"}
    assert corpus.ignored["links to nothing"] == ["real/nowhere.png"]
    assert all(source.path.resolve().is_file() for source in corpus.sources)


@pytest.mark.fault("Storage", "paths that leave the corpus, in tables")
@pytest.mark.parametrize("video", ["../up", "a/../../up", "/abs", "..", ".", "a//b", "C:/x", "a\\..\\b"])
def test_a_video_id_of_a_table_cannot_leave_the_folder_of_crops(tmp_path, video):
    root = write_images(tmp_path / "corpus", 1)
    (root / "table.csv").write_text(f"path,label,video\nreal/v0.png,real,{video}\nfake/v0.png,fake,b\n")
    with pytest.raises(UserError, match="cannot name a folder of crops"):
        find_corpus("folder", root / "table.csv")


@pytest.mark.fault("Storage", "paths that leave the corpus, in lists")
@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "Celeb-real/../../x.mp4", "Celeb-real/sub/x.mp4"])
def test_a_list_cannot_name_files_outside_the_corpus(tmp_path, name):
    for folder, video in (("Celeb-real", "id0_0000"), ("YouTube-real", "00000"), ("Celeb-synthesis", "id0_id1_0000")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{video}.mp4").touch()
    (tmp_path / "List_of_testing_videos.txt").write_text(f"1 Celeb-real/id0_0000.mp4\n1 {name}\n")
    with pytest.raises(UserError, match=r"line 2, .* is neither"):
        find_corpus("celebdf", tmp_path)
