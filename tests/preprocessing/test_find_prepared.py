"""Prepared faces are found by what they were made from, wherever corpus and faces lie."""

import json
import shutil

import pytest
from drawn import SquareDetector, draw_corpus, picture, write_video

from deepfake_ms.datasets import find_corpus
from deepfake_ms.errors import UserError
from deepfake_ms.preprocessing.prepare import prepare_corpus
from deepfake_ms.preprocessing.prepared import find_prepared, read_complete, read_prepared
from deepfake_ms.preprocessing.settings import PreparationSettings

SETTINGS = PreparationSettings(fps=2, crop_size=32)
NOT_FOUND = r"prepared faces of demo .* run `deepfake-ms prepare`"


def prepare(root, prepared_root, settings=SETTINGS):
    return prepare_corpus(find_corpus("folder", root), "demo", settings, prepared_root, make_detector=SquareDetector)


def find(prepared_root, root, data_name="demo", options=None, settings=SETTINGS):
    return find_prepared(prepared_root, data_name, root, options or {}, settings)


@pytest.fixture
def corpus(tmp_path):
    return draw_corpus(tmp_path / "corpus", videos=2)


@pytest.fixture
def prepared_root(corpus, tmp_path):
    prepare(corpus, tmp_path / "prepared")
    return tmp_path / "prepared"


def test_names_options_and_settings_must_be_the_same(corpus, prepared_root, tmp_path):
    folder = find(prepared_root, corpus)
    assert read_complete(folder)
    assert find(prepared_root, corpus, options={"video_pattern": None}) == folder
    for other in (
        {"data_name": "dem"},
        {"options": {"methods": ["Deepfakes"]}},
        {"settings": PreparationSettings(fps=1, crop_size=32)},
    ):
        with pytest.raises(UserError, match="run `deepfake-ms prepare`"):
            find(prepared_root, corpus, **other)
    with pytest.raises(UserError, match=NOT_FOUND):
        find(tmp_path / "nowhere", corpus)


def test_the_corpus_may_lie_elsewhere_or_be_absent(corpus, prepared_root, tmp_path):
    folder = find(prepared_root, corpus)
    shutil.copytree(corpus, tmp_path / "mount/another name")
    shutil.rmtree(corpus)
    for root in (tmp_path / "mount/another name", corpus, tmp_path / "gone", None):
        assert find(prepared_root, root) == folder
    corpus.mkdir()  # a mount point without its disk
    assert find(prepared_root, corpus) == folder


def test_the_prepared_folder_may_be_copied_and_renamed(corpus, prepared_root, tmp_path):
    (tmp_path / "copies").mkdir()
    shutil.copytree(find(prepared_root, corpus), tmp_path / "copies/faces", copy_function=shutil.copyfile)
    assert find(tmp_path / "copies", corpus) == tmp_path / "copies/faces"


def test_another_corpus_of_the_same_name_is_never_used(prepared_root, tmp_path):
    other = tmp_path / "other"
    write_video(other / "real/video0.mp4", [picture((60, 40, 20))] * 12)
    write_video(other / "fake/video1.mp4", [picture((60, 40, 40))] * 12)
    with pytest.raises(UserError, match=rf"{other} does not contain the files .* {NOT_FOUND[:22]}"):
        find(prepared_root, other)
    prepared_other = prepare(other, prepared_root)
    assert find(prepared_root, other) == prepared_other
    assert find(prepared_root, tmp_path / "corpus") != prepared_other


def test_without_the_corpus_faces_from_two_places_are_refused(prepared_root, tmp_path):
    shutil.rmtree(tmp_path / "corpus")
    prepare(draw_corpus(tmp_path / "other", videos=3), prepared_root)
    with pytest.raises(
        UserError, match=r"from different places \(demo-\w+, demo-\w+\): choose one with prepared=FOLDER"
    ):
        find(prepared_root, tmp_path / "corpus")


def test_the_faces_prepared_last_count_whatever_the_times_of_the_files(corpus, prepared_root):
    first = find(prepared_root, corpus)
    added = write_video(corpus / "real" / "more.mp4", [picture((60, 40, 30))] * 12)
    second = prepare(corpus, prepared_root)
    assert second != first
    (first / "prepared.json").touch()
    assert find(prepared_root, corpus) == second
    added.unlink()
    assert prepare(corpus, prepared_root) == first
    (second / "prepared.json").touch()
    assert find(prepared_root, corpus) == first
    shutil.rmtree(corpus)
    assert find(prepared_root, corpus) == first


def test_preparing_again_elsewhere_records_the_new_place(corpus, prepared_root, tmp_path):
    folder = find(prepared_root, corpus)
    corpus.rename(tmp_path / "moved")
    assert prepare(tmp_path / "moved", prepared_root) == folder
    assert read_prepared(folder)["root"] == str(tmp_path / "moved")


def test_a_table_is_recognised_elsewhere(corpus, tmp_path):
    (corpus / "files.csv").write_text("path,label\nreal/video0.mp4,real\nfake/video1.mp4,fake\n")
    folder = prepare(corpus / "files.csv", tmp_path / "prepared")
    corpus.rename(tmp_path / "moved")
    assert find(tmp_path / "prepared", tmp_path / "moved/files.csv") == folder
    (tmp_path / "moved/files.csv").write_text("path,label\nreal/video0.mp4,real\n")
    with pytest.raises(UserError, match="does not contain the files"):
        find(tmp_path / "prepared", tmp_path / "moved/files.csv")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"complete": true}'])
def test_damaged_descriptions_are_passed_over(corpus, prepared_root, content):
    folder = find(prepared_root, corpus)
    shutil.copytree(folder, prepared_root / "damaged")
    (prepared_root / "damaged/prepared.json").write_text(content)
    assert find(prepared_root, corpus) == folder


@pytest.mark.parametrize(
    ("content", "message"), [(None, "is missing"), ("{", "not valid JSON"), ("[]", "does not describe")]
)
def test_a_folder_that_is_not_prepared_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "prepared.json").write_text(content)
    with pytest.raises(UserError, match=message):
        read_prepared(tmp_path)


def test_the_synthetic_mark_comes_from_our_own_corpus_json(corpus, tmp_path):
    for text, synthetic in (
        ('{"synthetic": true}', True),
        ('{"synthetic": "yes"}', False),
        ("[1]", False),
        ("not JSON", False),
        ("\udcff", False),
    ):
        (corpus / "corpus.json").write_bytes(text.encode(errors="surrogateescape"))
        folder = prepare(corpus, tmp_path / "prepared" / str(len(text)))
        assert json.loads((folder / "prepared.json").read_text())["synthetic"] is synthetic
