"""Links, unknown types and everything else that a corpus's folders may contain."""

import os

import pytest

from deepfake_ms.datasets import find_corpus
from deepfake_ms.datasets.source import IMAGE_SUFFIXES, VIDEO_SUFFIXES


def make(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def names_of(corpus):
    return [source.name for source in corpus.sources]


def test_linked_folders_and_files_are_followed_and_reported(tmp_path):
    root, outside = make(tmp_path / "root", "real/a.mp4", "fake/b.mp4", "store/c.mp4"), make(tmp_path / "x", "d.mp4")
    (root / "real/linked").symlink_to(outside)
    (root / "real/inside").symlink_to(root / "store")
    (root / "real/e.mp4").symlink_to(outside / "d.mp4")
    corpus = find_corpus("folder", root)
    assert names_of(corpus) == ["fake/b.mp4", "real/a.mp4", "real/e.mp4", "real/inside/c.mp4", "real/linked/d.mp4"]
    assert corpus.links == ["real/e.mp4", "real/linked"]
    assert corpus.ignored == {"outside the folders of the layout": ["store/ (1 videos and images)"]}


def test_a_class_folder_may_be_a_link(tmp_path):
    root, outside = make(tmp_path / "root", "fake/b.mp4"), make(tmp_path / "x", "deep/d.mp4")
    (root / "real").symlink_to(outside)
    corpus = find_corpus("folder", root)
    assert [(source.name, source.label) for source in corpus.sources] == [
        ("fake/b.mp4", "fake"),
        ("real/deep/d.mp4", "real"),
    ]
    assert corpus.links == ["real"]


def test_links_in_circles_and_to_folders_that_are_read_anyway_give_no_file_twice(tmp_path):
    root = make(tmp_path, "real/a/b.mp4", "fake/c.mp4")
    (root / "real/again").symlink_to(root / "real/a")
    (root / "real/a/up").symlink_to(root)
    (root / "real/self").symlink_to(root / "real/self")
    corpus = find_corpus("folder", root)
    assert names_of(corpus) == ["fake/c.mp4", "real/a/b.mp4"]
    assert [source.label for source in corpus.sources] == ["fake", "real"]
    assert "real/again" in corpus.ignored["links to a folder that is read anyway"]
    assert corpus.ignored["links to nothing"] == ["real/self"]


def test_everything_that_is_not_read_is_named_with_the_reason(tmp_path):
    root = make(tmp_path, "real/a.mp4", "real/v.heic", "real/notes.txt", "real/.hidden.mp4", "fake/b.jpg", "list.csv")
    (root / "real/dangling.mp4").symlink_to("nowhere/x.mp4")
    os.mkfifo(root / "fake/pipe.mp4")
    corpus = find_corpus("folder", root)
    assert names_of(corpus) == ["fake/b.jpg", "real/a.mp4"]
    assert corpus.ignored == {
        "of a type that cannot be read here": ["real/notes.txt", "real/v.heic"],
        "hidden": ["real/.hidden.mp4"],
        "links to nothing": ["real/dangling.mp4"],
        "neither files nor folders": ["fake/pipe.mp4"],
        "outside the folders of the layout": ["list.csv"],
    }


@pytest.mark.parametrize(
    "suffix", [".m4v", ".wmv", ".mpg", ".mpeg", ".flv", ".ts", ".3gp", ".gif", ".tif", ".tiff", ".jfif", ".MP4", ".Jpg"]
)
def test_common_suffixes_are_known(tmp_path, suffix):
    (source,) = find_corpus("folder", make(tmp_path, f"real/a{suffix}")).sources
    assert source.media == ("video" if suffix.lower() in VIDEO_SUFFIXES else "image")
    assert suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES


def test_prepared_faces_in_a_corpus_are_no_part_of_it(tmp_path):
    """`data.root=.` with the default prepared_root: the second preparation would read the crops of the first."""
    make(tmp_path, "a.mp4", "prepared/folder-123/prepared.json", "prepared/folder-123/crops/a/00000.bmp")
    corpus = find_corpus("folder", tmp_path)
    assert [source.name for source in corpus.sources] == ["a.mp4"]
    assert corpus.ignored == {"folders of prepared faces": ["prepared/folder-123"]}
