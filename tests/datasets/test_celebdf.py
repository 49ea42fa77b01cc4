"""The Celeb-DF tree, made of empty files: `find_corpus` opens no video."""

import pytest

from deepfake_ms.datasets import find_corpus
from deepfake_ms.errors import UserError

VIDEOS = (
    "Celeb-real/id0_0000.mp4",
    "Celeb-real/id1_0003.mp4",
    "YouTube-real/00170.mp4",
    "Celeb-synthesis/id0_id1_0000.mp4",
)


@pytest.fixture
def corpus(tmp_path):
    for name in VIDEOS:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "List_of_testing_videos.txt").write_text(
        "1 YouTube-real/00170.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4\n1 Celeb-real/id9_0009.mp4\n\n"
    )
    return tmp_path


def test_labels_identities_and_test_list(corpus):
    sources = {source.name: source for source in find_corpus("celebdf", corpus).sources}
    assert list(sources) == sorted(VIDEOS)
    found = {
        name: (s.video_id, s.label, s.method, s.identities, s.source_video, s.official_subset)
        for name, s in sources.items()
    }
    assert found == {
        "Celeb-real/id0_0000.mp4": ("Celeb-real/id0_0000", "real", "real", ("id0",), None, None),
        "Celeb-real/id1_0003.mp4": ("Celeb-real/id1_0003", "real", "real", ("id1",), None, None),
        "YouTube-real/00170.mp4": ("YouTube-real/00170", "real", "real", ("youtube_00170",), None, "test"),
        "Celeb-synthesis/id0_id1_0000.mp4": (
            "Celeb-synthesis/id0_id1_0000",
            "fake",
            "celebdf_swap",
            ("id0", "id1"),
            "Celeb-real/id0_0000",
            "test",
        ),
    }
    assert all(source.path.is_file() and source.media == "video" for source in sources.values())


def test_a_fake_whose_real_video_is_not_in_the_corpus_has_no_source_video(corpus):
    for name in ("Celeb-synthesis/id1_id0_0000.mp4", "Celeb-synthesis/id1_id0_0003.mp4"):
        (corpus / name).touch()
    found = {source.video_id: source.source_video for source in find_corpus("celebdf", corpus).sources}
    assert found["Celeb-synthesis/id1_id0_0000"] is None
    assert found["Celeb-synthesis/id1_id0_0003"] == "Celeb-real/id1_0003"


def test_listed_videos_that_the_folders_lack_are_reported(corpus):
    assert find_corpus("celebdf", corpus).missing == ("Celeb-real/id9_0009.mp4",)


def test_hidden_files_are_ignored(corpus):
    (corpus / "Celeb-real" / "._id0_0000.mp4").touch()
    assert len(find_corpus("celebdf", corpus).sources) == len(VIDEOS)


@pytest.mark.parametrize("missing", [*VIDEOS[2:], "List_of_testing_videos.txt"])
def test_a_missing_part_is_named_with_the_expected_tree(corpus, missing):
    (corpus / missing).unlink()
    with pytest.raises(UserError, match=r"Celeb-synthesis/idA_idB_NNNN\.mp4") as error:
        find_corpus("celebdf", corpus)
    assert missing.split("/")[0] in str(error.value).splitlines()[0]


@pytest.mark.parametrize(
    "name", ["Celeb-real/holiday.mp4", "Celeb-synthesis/id0_0000.mp4", "YouTube-real/id0_0000.mp4"]
)
def test_a_name_without_identities_is_refused(corpus, name):
    (corpus / name).touch()
    with pytest.raises(UserError, match="does not identify the people"):
        find_corpus("celebdf", corpus)


@pytest.mark.parametrize("line", ["0 Celeb-real/id0_0000.mp4", "Celeb-real/id0_0000.mp4", "1 Elsewhere/a.mp4", "1"])
def test_a_wrong_line_of_the_test_list_is_refused(corpus, line):
    (corpus / "List_of_testing_videos.txt").write_text(f"1 YouTube-real/00170.mp4\n{line}\n")
    with pytest.raises(UserError, match="line 2"):
        find_corpus("celebdf", corpus)


def test_an_empty_test_list_is_refused(corpus):
    (corpus / "List_of_testing_videos.txt").write_text("\n")
    with pytest.raises(UserError, match="empty"):
        find_corpus("celebdf", corpus)


def test_wrong_roots_and_layouts(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        find_corpus("celebdf", tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        find_corpus("celebdf", tmp_path / "file")
    with pytest.raises(UserError, match="celebdf, celebdf_pp, faceforensics"):
        find_corpus("celebdfv2", tmp_path)
    with pytest.raises(UserError, match="no option compression; it has none"):
        find_corpus("celebdf", tmp_path, {"compression": "c23"})


def test_other_suffixes_and_subfolders_are_read(corpus):
    """The names identify the videos, whatever the suffix and the subfolder."""
    real, listed = corpus / "Celeb-real", corpus / "YouTube-real"
    (real / "part").mkdir()
    (real / "id0_0000.mp4").rename(real / "part/id0_0000.MP4")
    (listed / "00170.mp4").rename(listed / "00170.avi")
    found = find_corpus("celebdf", corpus)
    sources = {source.name: source for source in found.sources}
    assert sources["Celeb-real/part/id0_0000.MP4"].video_id == "Celeb-real/id0_0000"
    assert sources["Celeb-synthesis/id0_id1_0000.mp4"].source_video == "Celeb-real/id0_0000"
    assert sources["YouTube-real/00170.avi"].official_subset == "test"
    assert found.missing == ("Celeb-real/id9_0009.mp4",)


def test_two_videos_of_one_name_are_refused(corpus):
    (corpus / "Celeb-real/id0_0000.avi").touch()
    with pytest.raises(UserError, match=r"remove one of Celeb-real/id0_0000\.avi, Celeb-real/id0_0000\.mp4"):
        find_corpus("celebdf", corpus)


def test_everything_else_is_named(corpus):
    (corpus / "Celeb-real/readme.txt").touch()
    (corpus / "Celeb-fake").mkdir()
    (corpus / "Celeb-fake/id0_id1_0003.mp4").touch()
    assert find_corpus("celebdf", corpus).ignored == {
        "of a type that cannot be read here": ["Celeb-real/readme.txt"],
        "outside the folders of the layout": ["Celeb-fake/ (1 videos and images)"],
    }
