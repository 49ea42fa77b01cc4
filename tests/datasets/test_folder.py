"""Class folders, flat folders and the names of images."""

import pytest

from deepfake_ms.datasets import find_corpus, require_both_classes
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


@pytest.mark.parametrize("names", [("a_1.jpg", "a_01.jpg"), ("v/1.png", "v/frame_1.png")])
def test_images_that_claim_to_be_the_same_frame_are_refused(tmp_path, names):
    with pytest.raises(UserError, match="rename one of"):
        find_corpus("folder", make(tmp_path, *names))


@pytest.mark.parametrize(
    "names",
    [("a.mp4", "a.avi"), ("a.jpg", "a.png"), ("a.mp4", "a.jpg"), ("a.mp4", "a_3.jpg", "a_4.jpg"), ("a.gif", "a/1.png")],
)
def test_files_that_differ_only_in_their_suffix_are_different_videos_with_a_note(tmp_path, names):
    corpus = find_corpus("folder", make(tmp_path, *names))
    videos = {source.video_id for source in corpus.sources}
    assert len(videos) == 2
    if not {"a_3.jpg", "a/1.png"} & set(names):
        assert any(
            f"2 files differ from others only in their suffix, e.g. {', '.join(sorted(names))}" in note
            for note in corpus.notes
        )


def test_split_folders_give_the_official_split(tmp_path):
    """Above or below the class folders; in other places their names mean nothing."""
    root = make(
        tmp_path,
        *("train/real/a.mp4", "Train/fake/b.jpg", "valid/real/c.png", "val/fake/d.mp4", "TEST/Fake/deep/er/e.mp4"),
        *("real/validation/f.mp4", "fake/dev/0007.png", "real/g.mp4", "real/anna/test/h.mp4", "test/readme.mp4"),
    )
    corpus = find_corpus("folder", root)
    assert {s.name: (s.label, s.official_subset) for s in corpus.sources} == {
        "train/real/a.mp4": ("real", "train"),
        "Train/fake/b.jpg": ("fake", "train"),
        "valid/real/c.png": ("real", "validation"),
        "val/fake/d.mp4": ("fake", "validation"),
        "TEST/Fake/deep/er/e.mp4": ("fake", "test"),
        "real/validation/f.mp4": ("real", "validation"),
        "fake/dev/0007.png": ("fake", "validation"),
        "real/g.mp4": ("real", None),
        "real/anna/test/h.mp4": ("real", None),
    }
    assert {s.video_id for s in corpus.sources if s.name.endswith("0007.png")} == {"fake/dev/0007"}
    assert corpus.ignored == {"outside the folders of the layout": ["test/ (1 videos and images)"]}


def test_a_class_folder_with_another_name_is_named(tmp_path):
    make(tmp_path, "real/a.jpg", "fakes/b.jpg", "fakes/c/d.mp4", "fakes/list.txt")
    with pytest.raises(UserError, match=r"has no fake files.*outside the folders of the layout: fakes/ \(2 videos and"):
        require_both_classes(find_corpus("folder", tmp_path))
    make(tmp_path, "fake/e.jpg")
    corpus = find_corpus("folder", tmp_path)
    assert [source.name for source in corpus.sources] == ["fake/e.jpg", "real/a.jpg"]
    assert corpus.ignored == {"outside the folders of the layout": ["fakes/ (2 videos and images)"]}


def test_unlabelled_files_are_explained(tmp_path):
    assert find_corpus("folder", make(tmp_path / "a", "b.mp4")).notes == [
        f"All files are unlabelled, because {tmp_path / 'a'} has no folder real or fake: they can be prepared and "
        "scored, but not trained on."
    ]
    (note,) = find_corpus("folder", make(tmp_path / "c", "faces/Train/Real/b.mp4")).notes
    assert note.endswith(f"set data.root to {tmp_path / 'c/faces'}.")


@pytest.mark.parametrize("names", [(), ("notes.txt",), ("real/notes.txt", "clip.mp4")])
def test_a_root_without_media_is_refused(tmp_path, names):
    with pytest.raises(UserError, match=r"real/  fake/"):
        find_corpus("folder", make(tmp_path, *names))


def test_a_missing_root_is_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        find_corpus("folder", tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("real/a\\b.mp4", "real/a%5Cb"),  # as Windows' archives come out on Linux
        ("real/caf\udce9.mp4", "real/caf%E9"),  # Latin-1, not UTF-8
        ("real/two\nlines.mp4", "real/two%0Alines"),
        ("real/talk [abcDEF12345].mp4", "real/talk [abcDEF12345]"),
        ("C: drive.mp4", "C%3A drive"),
    ],
)
def test_names_that_not_every_file_system_can_hold_are_written_as_in_urls(tmp_path, name, expected):
    (source,) = find_corpus("folder", make(tmp_path, name)).sources
    assert (source.video_id, source.name) == (expected, f"{expected}.mp4")
    assert source.path == tmp_path / name
