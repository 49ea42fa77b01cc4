"""How images are grouped into videos: by their names, or by the user's pattern."""

from pathlib import PurePosixPath

import pytest

from deepfake_ms.datasets import find_corpus
from deepfake_ms.datasets.grouping import group_images
from deepfake_ms.errors import UserError


def grouped(*names, **options):
    paths = [PurePosixPath(name) for name in names]
    return dict(zip(names, group_images(paths, **options)[0], strict=True))


def rules(*names, **options):
    return group_images([PurePosixPath(name) for name in names], **options)[1]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fake/000_003/0011.png", ("fake/000_003", 11)),
        ("fake/Deepfakes/c23/000_003/0011.png", ("fake/Deepfakes/c23/000_003", 11)),
        ("train/fake/id0/frame_0011.png", ("train/fake/id0", 11)),
        ("fake/id0/frame11.jpg", ("fake/id0", 11)),
        ("fake/id0/Image-11.jpg", ("fake/id0", 11)),
        ("clip/0011.png", ("clip", 11)),  # unlabelled
        ("fake/id0/20230115123456789.png", ("fake/id0", 0)),  # a time stamp: numbered by name
        ("fake/frame_12.png", ("fake/frame", 12)),
        ("fake/VIDEO_12.jpg", ("fake/VIDEO", 12)),
        ("real/aajsqyyjni_12.jpg", ("real/aajsqyyjni", 12)),
        ("fake/aaa_bbb_12.jpg", ("fake/aaa_bbb", 12)),
        ("fake/000_003_0011.png", ("fake/000_003", 11)),
        ("fake/id0/VIDEO_12.jpg", ("fake/id0/VIDEO", 12)),
        ("fake/000_003-0011.png", ("fake/000_003", 11)),
        ("fake/VIDEO_frame12.jpg", ("fake/VIDEO", 12)),
        ("fake/VIDEO_frame_12.jpg", ("fake/VIDEO", 12)),
        ("fake/id0/frame (12).jpg", ("fake/id0", 12)),
    ],
)
def test_images_that_are_frames(name, expected):
    assert grouped(name)[name] == expected


@pytest.mark.parametrize(
    "name",
    [
        *("real/7.bmp", "0001.png", "test/fake/0001.png", "real/valid/0001.png"),
        *("real/real_00001.jpg", "fake/img_12.jpg", "fake/IMG1234.JPG", "train/real/photo 3.png"),
        *("real/framework.png", "real/frameA.png", "real/photo-1.jpg"),
        *("real/portrait.png", "fake/id0/cover.png", "real/camera_20230115123456.jpg", "real/v1.2.png"),
    ],
)
def test_images_that_are_videos_of_their_own(name):
    assert grouped(name)[name] == (name.rpartition(".")[0], 0)


def test_unrelated_numbered_photos_do_not_become_a_video():
    names = [f"{label}/{label}_{number:05d}.jpg" for label in ("real", "fake") for number in range(45)]
    assert len({video for video, _ in grouped(*names).values()}) == 90


def test_frames_in_one_folder_per_video_become_its_frames():
    names = [f"fake/{video:03d}/{frame:03d}.png" for video in range(3) for frame in range(8)]
    assert set(grouped(*names).values()) == {(f"fake/{video:03d}", frame) for video in range(3) for frame in range(8)}


def test_what_follows_the_number_of_a_frame_is_no_part_of_the_video():
    frames = ("a/frame_1", "a/frame_2", "b_frame1")
    names = [f"fake/{frame}_face{face}.png" for frame in frames for face in range(2)]
    videos = [("fake/a", 0), ("fake/a", 1), ("fake/a", 2), ("fake/a", 3), ("fake/b", 0), ("fake/b", 1)]
    assert list(grouped(*names).values()) == videos


def test_images_that_differ_only_in_their_suffix_are_different_videos():
    assert grouped("real/a.jpg", "real/a.png", "real/b.png") == {
        "real/a.jpg": ("real/a.jpg", 0),
        "real/a.png": ("real/a.png", 0),
        "real/b.png": ("real/b", 0),
    }


def test_the_rules_that_applied_are_counted_with_an_example():
    assert rules("real/a/1.png", "real/a/2.png", "real/b/7.png", "real/c_3.png", "real/d.png", "real/e.png") == [
        {
            "rule": "numbered images in a folder of their own: the folder is the video",
            "images": 3,
            "videos": 2,
            "example": "real/a/1.png is frame 1 of real/a",
        },
        {
            "rule": "images named VIDEO_12: frame 12 of VIDEO",
            "images": 1,
            "videos": 1,
            "example": "real/c_3.png is frame 3 of real/c",
        },
        {
            "rule": "all other images: each is a video of its own",
            "images": 2,
            "videos": 2,
            "example": "real/d.png",
        },
    ]


def test_a_pattern_decides():
    names = ("fake/s01-e02-0011.png", "fake/s01-e02-0003.png", "fake/s02-e01-0001.png", "fake/odd.png")
    pattern = r"(?P<video>.+)-(?P<frame>\d+)"
    assert grouped(*names, video_pattern=pattern) == {
        "fake/s01-e02-0011.png": ("fake/s01-e02", 11),
        "fake/s01-e02-0003.png": ("fake/s01-e02", 3),
        "fake/s02-e01-0001.png": ("fake/s02-e01", 1),
        "fake/odd.png": ("fake/odd", 0),
    }
    assert [(each["images"], each["videos"]) for each in rules(*names, video_pattern=pattern)] == [(3, 2), (1, 1)]


def test_a_pattern_without_frame_numbers_the_images_by_name():
    found = grouped("b/2.png", "b/10.png", "b/1.png", video_pattern=r"(?P<video>\w+)/.*")
    assert found == {"b/1.png": ("b", 0), "b/10.png": ("b", 1), "b/2.png": ("b", 2)}


def test_a_pattern_can_make_every_image_a_video_of_its_own():
    names = ("real/ffhq/0001.png", "real/ffhq/0002.png")
    assert len({video for video, _ in grouped(*names, video_pattern="(?P<video>.+)").values()}) == 2


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "not a regular expression"),
        (5, "not a regular expression"),
        (r"(.+)_(\d+)", "no group named video"),
        (r"clip_(?P<video>\d+)", "matches none of the images, e.g. real/a_1"),
        (r"(?P<video>.+)/(?P<frame>.+)", "the group frame is 'a_1' in real/a_1.png"),
    ],
)
def test_wrong_patterns_are_refused(pattern, message):
    with pytest.raises(UserError, match=message):
        grouped("real/a_1.png", video_pattern=pattern)


def make(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_the_pattern_is_an_option_of_folders_and_tables(tmp_path):
    make(tmp_path, "real/x-1.png", "real/x-2.png", "fake/y-1.png", "fake/clip.mp4")
    options = {"video_pattern": r"(?P<video>.+)-(?P<frame>\d+)"}
    by_folder = {s.name: (s.video_id, s.frame_index) for s in find_corpus("folder", tmp_path, options).sources}
    assert by_folder == {
        "real/x-1.png": ("real/x", 1),
        "real/x-2.png": ("real/x", 2),
        "fake/y-1.png": ("fake/y", 1),
        "fake/clip.mp4": ("fake/clip", 0),
    }
    rows = [f"{name},{name[:4]}" for name in by_folder]
    (tmp_path / "files.csv").write_text("\n".join(["path,label", *rows]))
    corpus = find_corpus("folder", tmp_path / "files.csv", options)
    assert {s.name: (s.video_id, s.frame_index) for s in corpus.sources} == by_folder
    assert corpus.grouping[0]["images"] == 3


@pytest.mark.parametrize("names", [("real/a-1.png", "fake/a-2.png"), ("train/real/a-1.png", "test/real/a-2.png")])
def test_a_pattern_that_joins_classes_or_subsets_is_refused(tmp_path, names):
    with pytest.raises(UserError, match="differ in class or subset"):
        find_corpus("folder", make(tmp_path, *names), {"video_pattern": r".*/(?P<video>\w)-(?P<frame>\d)"})


def test_a_table_can_name_the_videos_of_some_images(tmp_path):
    make(tmp_path, "a/1.png", "a/2.png", "b/1.png", "b/2.png")
    (tmp_path / "files.csv").write_text(
        "path,label,video\na/2.png,real,x\na/1.png,real,x\nb/1.png,fake,\nb/2.png,fake,\n"
    )
    corpus = find_corpus("folder", tmp_path / "files.csv")
    assert {s.name: (s.video_id, s.frame_index) for s in corpus.sources} == {
        "a/1.png": ("x", 1),
        "a/2.png": ("x", 0),
        "b/1.png": ("b", 1),
        "b/2.png": ("b", 2),
    }
    assert [each["images"] for each in corpus.grouping] == [2, 2]
