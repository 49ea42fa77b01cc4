"""Plain mistakes on the command line of `prepare` end with one sentence and status 2."""

import errno
import os
from pathlib import Path

import cv2
import pytest
from drawn import picture

from deepfake_ms.prepare import _count_workers


@pytest.fixture
def corpus(tmp_path):
    """Two blank pictures: found, read, without a face."""
    for label in ("real", "fake"):
        (tmp_path / "corpus" / label).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "corpus" / label / "a.png"), picture())
    return tmp_path / "corpus"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["data.root=null"], "data.root=None is not a path: set data.root=..."),
        (["data.root=2023"], "data.root=2023 is not a path: write data.root=./2023."),
        (["data.root="], "data.root='' is not a path"),
        (["data.root=nowhere"], "The corpus root nowhere does not exist"),
        (["prepared_root=null"], "prepared_root=null: set prepared_root=..., or leave it out."),
        (["prepared_root=corpus/real/a.png"], "corpus/real/a.png: File exists; check that it is what"),
        (["prepared_root=corpus/real/a.png/b"], "corpus/real/a.png/b: Not a directory; check that"),
        (["workers=null"], "workers=None is no number of processes: choose 0, 1, 2, ... or auto for all cores."),
        (["workers=-2"], "workers=-2 is no number of processes"),
        (["workers=many"], "workers=many is no number of processes"),
        (["workers=1.5"], "workers=1.5 is no number of processes"),
        (["shard=2"], "shard=2 does not have the form i/n"),
        (["data.options=null"], "data.options=None must be a table of settings"),
        (["data.options.video_pattern='('"], "data.options.video_pattern=( is not a regular expression"),
        (["data.name=a/b"], "data.name='a/b' cannot name a folder"),
        (["data.layout=null"], "Unknown corpus layout None"),
        (["preparation.fps=fast"], "fps must be a number, not fast."),
        (["preparation.fps=null"], "fps and frames are both null: set one of them, e.g. fps=1 or frames=32."),
        (["preparation.frames=32"], "fps=1.0 and frames=32 are both set: set one of them to null."),
        (["preparation.frames=some", "preparation.fps=null"], "frames must be a number, not some."),
        (["preparation.max_frames=0"], "max_frames must be a whole number, at least 1, not 0."),
        (["preparation=deepfakebench", "preparation.edge=clip"], "align=five_points needs offset=0, edge=black and"),
        # Accepted: the blank pictures are read.
        (["preparation.frames=32", "preparation.fps=null"], "No face was found in the whole corpus"),
        (["preparation=deepfakebench", "preparation.max_frames=8"], "No face was found in the whole corpus"),
        (["preparation.face=nearest"], "face=nearest is unknown: choose from largest, first, tracked."),
        (["+data.draw.seed=x"], "Miniature seed is x: it must be a whole number."),
    ],
)
def test_mistakes_are_explained(corpus, call, arguments, sentence):
    defaults = ["data=folder", "data.root=corpus", "workers=0"]
    if "draw" in arguments[0]:
        arguments, defaults = [arguments[0].lstrip("+")], ["data=miniature", "workers=0"]
    status, _, errors = call("prepare", *defaults, *arguments)
    assert status == 2, errors
    assert sentence in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("workers", ["auto", -1])
def test_all_cores(workers):
    assert _count_workers(workers) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("content", ["not JSON", "[1]", '{"synthetic": true}', "{}"])
def test_a_foreign_corpus_json_is_not_drawn_over(call, tmp_path, content):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus/corpus.json").write_text(content)
    status, _, errors = call("prepare", "data=miniature", "data.root=corpus", "workers=0")
    assert status == 2
    assert "corpus/corpus.json does not describe a miniature corpus: set data.root to a new or empty folder" in errors
    assert (tmp_path / "corpus/corpus.json").read_text() == content


def test_a_full_disk_while_drawing_is_one_sentence(call, tmp_path, monkeypatch):
    opened = Path.open

    def full(path, mode="r", *args, **options):
        if "w" in mode and "Celeb-real" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return opened(path, mode, *args, **options)

    monkeypatch.setattr(Path, "open", full)
    status, _, errors = call(
        "prepare", "data=miniature", "workers=0", "+data.draw.seconds=0.5", "+data.draw.size=64", "+data.draw.fps=2"
    )
    assert status == 2
    assert "No space left on device; free space there, or write to another disk" in errors
    assert not list(tmp_path.rglob("*.mp4"))


def test_names_with_brackets_are_printed(call, tmp_path):
    (tmp_path / "cor[p]us/real").mkdir(parents=True)
    for name in ("talk [abcDEF12345].png", "talk [abcDEF12345].jpg", "[bold].mp4"):
        (tmp_path / "cor[p]us/real" / name).touch()
    cv2.imwrite(str(tmp_path / "cor[p]us/real/talk [abcDEF12345].png"), picture())
    (tmp_path / "cor[p]us/fake").mkdir()
    (tmp_path / "cor[p]us/fake/a.png").touch()
    status, _, errors = call("prepare", "data=folder", "data.root='cor[p]us'", "workers=0", "prepared_root='pre[/x]d'")
    assert status == 2
    assert "No face was found in the whole corpus" in errors
    assert "pre[/x]d/folder-" in errors


def test_a_corpus_of_one_class_stops(call, shared, tmp_path):
    real = tmp_path / "corpus/real"
    real.mkdir(parents=True)
    (tmp_path / "corpus/fakes").mkdir()
    face = min((shared / "real-samples/faces/real").glob("*.jpg"))
    for folder, name in ((real, "[a].jpg"), (real.parent / "fakes", "b.jpg")):
        (folder / name).write_bytes(face.read_bytes())
    (real / "[note].txt").touch()
    status, _, errors = call("prepare", "data=folder", "data.root=corpus", "workers=0")
    assert status == 2
    assert "corpus has no fake files, but training and evaluation need both classes" in errors
    assert "outside the folders of the layout: fakes/ (1 videos and images)" in errors
    assert not list((tmp_path / "prepared").glob("*"))

    (real.parent / "fake").mkdir()
    (real.parent / "fake" / "[c].jpg").write_bytes(face.read_bytes())
    status, output, errors = call("prepare", "data=folder", "data.root=corpus", "workers=0")
    assert status == 0, errors
    assert "1 outside the folders of the layout: fakes/ (1 videos and images)" in output
    assert "1 of a type that cannot be read here: real/[note].txt" in output
    assert "2 images, 2 videos, e.g. fake/[c].jpg" in output
