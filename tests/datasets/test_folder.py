"""Class folders, flat folders and the names of images."""

import pytest

from deepfake_ms.datasets import find_corpus
from deepfake_ms.errors import UserError


def make(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_only_class_folders_are_searched_with_their_subfolders(tmp_path):
    root = make(tmp_path, "real/a.mp4", "Fake/deep/er/b.WEBM", "fake_notes.txt", "elsewhere/c.mp4", "real/notes.txt")
    found = [(s.name, s.video_id, s.label, s.method, s.media) for s in find_corpus("folder", root).sources]
    assert found == [
        ("Fake/deep/er/b.WEBM", "Fake/deep/er/b", "fake", "fake", "video"),
        ("real/a.mp4", "real/a", "real", "real", "video"),
    ]


def test_a_single_class_is_found(tmp_path):
    assert [s.label for s in find_corpus("folder", make(tmp_path, "fake/a.mov", "fake/b.mkv")).sources] == [
        "fake",
        "fake",
    ]


def test_a_flat_folder_is_unlabelled(tmp_path):
    sources = find_corpus("folder", make(tmp_path, "a.avi", "more/b.png", ".hidden/c.mp4", "._a.mp4")).sources
    assert [(s.name, s.label, s.source_video) for s in sources] == [
        ("a.avi", "unlabelled", None),
        ("more/b.png", "unlabelled", None),
    ]


def test_numbered_images_belong_to_one_video(tmp_path):
    root = make(
        tmp_path,
        "real/clip_2.jpg",
        "real/clip_10.jpg",
        "fake/swap_clip_3.jpg",
        "real/portrait.png",
        "real/camera_20230115123456.jpg",
        "real/7.bmp",
    )
    found = {s.name: (s.video_id, s.frame_index, s.media) for s in find_corpus("folder", root).sources}
    assert found == {
        "real/clip_2.jpg": ("real/clip", 2, "image"),
        "real/clip_10.jpg": ("real/clip", 10, "image"),
        "fake/swap_clip_3.jpg": ("fake/swap_clip", 3, "image"),
        "real/portrait.png": ("real/portrait", 0, "image"),
        "real/camera_20230115123456.jpg": ("real/camera_20230115123456", 0, "image"),
        "real/7.bmp": ("real/7", 0, "image"),
    }


@pytest.mark.parametrize(
    "names",
    [("a.mp4", "a.avi"), ("a_1.jpg", "a_01.jpg"), ("a.mp4", "a.jpg"), ("a.mp4", "a_3.jpg", "a_4.jpg")],
)
def test_files_that_claim_to_be_the_same_video_are_refused(tmp_path, names):
    with pytest.raises(UserError, match="rename one of"):
        find_corpus("folder", make(tmp_path, *names))


@pytest.mark.parametrize("names", [(), ("notes.txt",), ("real/notes.txt", "clip.mp4")])
def test_a_root_without_media_is_refused(tmp_path, names):
    with pytest.raises(UserError, match=r"real/  fake/"):
        find_corpus("folder", make(tmp_path, *names))


def test_a_missing_root_is_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        find_corpus("folder", tmp_path / "nowhere")


def test_a_name_that_cannot_name_a_folder_everywhere_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot name a folder of crops"):
        find_corpus("folder", make(tmp_path, "real/a\\b.mp4"))
