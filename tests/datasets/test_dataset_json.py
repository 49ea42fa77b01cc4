"""Frames and JSON lists in the form of DeepfakeBench and DF40."""

import json

import pytest

from deepfake_ms.datasets import find_corpus
from deepfake_ms.errors import UserError

PREFIX = "deepfakes_detection_datasets"


def entry(folder, *frames):
    return {"label": "as the class", "frames": [f"{folder}/{frame}.png" for frame in frames]}


@pytest.fixture
def write(tmp_path):
    def write_list(name, classes):
        (tmp_path / "dataset_json").mkdir(exist_ok=True)
        (tmp_path / "dataset_json" / f"{name}.json").write_text(json.dumps({name: classes}), encoding="utf-8")

    return write_list


@pytest.fixture
def corpus(touch, write):
    real = f"{PREFIX}/FaceForensics++/original_sequences/youtube/c23/frames"
    fake, celeb = f"{PREFIX}/DF40/simswap/ff/frames", f"{PREFIX}/DF40/simswap/cdf/frames"
    write(
        "simswap_ff",
        {
            "roop_Real": {"train": {"000": entry(f"{real}/000", "012", "003"), "001": entry(f"{real}/001", "000")}},
            "roop_Fake": {
                "train": {"000_003": entry(f"{fake}/000_003", "000", "031"), "empty": entry("nowhere")},
                "val": {"005_004": entry(f"{fake}/005_004", "000")},
            },
        },
    )
    write(
        "simswap_cdf",
        {
            "simswap_Fake": {
                subset: {"id0_id1_0002": entry(f"{celeb}/id0_id1_0002", "7"), "00170": entry(f"{celeb}/00170", "x")}
                for subset in ("train", "val", "test")
            }
        },
    )
    return touch(
        "FaceForensics++/original_sequences/youtube/c23/frames/000/012.png",
        "FaceForensics++/original_sequences/youtube/c23/frames/000/003.png",
        "FaceForensics++/original_sequences/youtube/c23/frames/000/004.png",
        "simswap/ff/frames/000_003/000.png",
        "simswap/ff/frames/005_004/000.png",
        "simswap/cdf/frames/id0_id1_0002/7.png",
        "simswap/cdf/frames/00170/x.png",
    )


def test_the_lists_give_classes_subsets_and_people(corpus, describe):
    found = find_corpus("dataset_json", corpus)
    real = "FaceForensics++/original_sequences/youtube/c23/frames"
    assert describe(found) == {
        f"{real}/000": ("real", "real", ("000",), None, "train"),
        "simswap/ff/frames/000_003": ("fake", "simswap_ff", ("000", "003"), None, "train"),
        "simswap/ff/frames/005_004": ("fake", "simswap_ff", ("005", "004"), None, "validation"),
        "simswap/cdf/frames/id0_id1_0002": ("fake", "simswap_cdf", ("id0", "id1"), None, "test"),
        "simswap/cdf/frames/00170": ("fake", "simswap_cdf", ("youtube_00170",), None, "test"),
    }
    assert [source.frame_index for source in found.sources if source.video_id == f"{real}/000"] == [3, 12]
    assert found.missing == (f"{real}/001",)
    assert found.notes == [
        "The lists name 2 videos in several subsets; here they are only in the test set.",
        "2 frames in the lists are not in their folders.",
    ]


def test_lists_are_selected(corpus, describe):
    found = find_corpus("dataset_json", corpus, {"lists": ["simswap_cdf"]})
    assert {method for _, method, *_ in describe(found).values()} == {"simswap_cdf"}
    with pytest.raises(UserError, match=r"no list roop; it has simswap_cdf, simswap_ff"):
        find_corpus("dataset_json", corpus, {"lists": ["roop"]})


def test_lists_of_faceforensics_have_a_compression_and_windows_paths(touch, write, describe):
    folder = "D:\\rgb\\FaceForensics++\\manipulated_sequences\\Deepfakes\\{}\\frames\\000_003\\000.png"
    levels = {level: {"000_003": {"frames": [folder.format(level)]}} for level in ("c23", "c40")}
    write("FaceForensics++", {"FF-DF": {"test": levels}})
    root = touch(
        *(f"FaceForensics++/manipulated_sequences/Deepfakes/{level}/frames/000_003/000.png" for level in ("c23", "c40"))
    )
    found = find_corpus("dataset_json", root, {"compression": "c40"})
    video = "FaceForensics++/manipulated_sequences/Deepfakes/c40/frames/000_003"
    assert describe(found) == {video: ("fake", "FF-DF", ("000", "003"), None, "test")}
    with pytest.raises(UserError, match=r"FaceForensics\+\+\.json has only c23, c40"):
        find_corpus("dataset_json", root, {"compression": "raw"})


def test_people_of_deepfakedetection(touch, write, describe):
    real, fake = (f"FaceForensics++/{name}/c23/frames" for name in ("original_sequences/actors", "DeepFakeDetection"))
    video, swap = f"{real}/01__exit_phone_room", f"{fake}/01_02__exit_phone_room__YVGY8LOK"
    levels = {
        name: {"test": {"c23": {"video": entry(folder, "0")}}}
        for name, folder in (("DFD_real", video), ("DFD_fake", swap))
    }
    write("DeepFakeDetection", levels)
    found = describe(find_corpus("dataset_json", touch(f"{video}/0.png", f"{swap}/0.png")))
    assert found[video] == ("real", "real", ("01",), None, "test")
    assert found[swap] == ("fake", "DeepFakeDetection", ("01", "02"), None, "test")


def test_folders_of_two_methods_are_not_taken_for_each_other(corpus, write):
    write("wav2lip_ff", {"wav2lip_Fake": {"test": {"000_003": entry("DF40/wav2lip/ff/frames/000_003", "000")}}})
    (corpus / "simswap" / "ff").rename(corpus / "ff")
    with pytest.raises(
        UserError, match=r"name .*simswap/ff/frames and DF40/wav2lip/ff/frames, and both would be .*/ff"
    ):
        find_corpus("dataset_json", corpus)


def test_one_folder_listed_with_two_prefixes_is_one_video(corpus, write):
    write("other", {"roop_Fake": {"test": {"000_003": entry("/old/DF40/simswap/ff/frames/000_003", "000")}}})
    with pytest.raises(
        UserError, match=r"simswap/ff/frames/000_003 is simswap_ff in simswap_ff.json, but other in other"
    ):
        find_corpus("dataset_json", corpus)
    write(
        "other",
        {"roop_Real": {"test": {"000": entry("FaceForensics++/original_sequences/youtube/c23/frames/000", "004")}}},
    )
    real = [source for source in find_corpus("dataset_json", corpus).sources if source.label == "real"]
    assert [source.frame_index for source in real] == [3, 4, 12]
    assert {source.official_subset for source in real} == {"test"}


def test_paths_cannot_leave_the_root(corpus, write):
    outside = corpus.parent / "secret" / "000"
    outside.mkdir(parents=True, exist_ok=True)
    (outside / "0.png").touch()
    write("simswap_ff", {"roop_Fake": {"test": {"000": entry("../secret/000", "0")}}})
    with pytest.raises(UserError, match=r"has no frame of the 1 listed videos, e.g. of secret/000"):
        find_corpus("dataset_json", corpus, {"lists": ["simswap_ff"]})


def test_a_link_out_of_the_corpus_is_reported(corpus, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "ff"
    (corpus / "simswap" / "ff").rename(elsewhere)
    (corpus / "simswap" / "ff").symlink_to(elsewhere)
    assert find_corpus("dataset_json", corpus).links == ["simswap/ff"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"bad.json is not readable as JSON"),
        ("[]", r"bad.json has another form: '\[\]' is not a JSON object"),
        ('{"a": {"a_Real": {"dev2": {}}}}', r"the subset 'dev2' of a_Real is not train, val or test"),
        ('{"a": {"a_Real": {"test": {"v": {"frames": "v/0.png"}}}}}', r"the video 'v' of a_Real has no list of frames"),
        ('{"a": {"a_Real": {"test": {"v": ["v/0.png"]}}}}', r"the video 'v' of a_Real has no list of frames"),
    ],
)
def test_a_list_of_another_form_is_refused(corpus, content, message):
    (corpus / "dataset_json" / "bad.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        find_corpus("dataset_json", corpus)


def test_without_lists_the_expected_tree_is_shown(touch):
    root = touch("simswap/ff/frames/000_003/000.png")
    with pytest.raises(UserError, match=r"dataset_json has no list: copy the JSON files into it; the layout of"):
        find_corpus("dataset_json", root)
    with pytest.raises(UserError, match="compression=c0: choose one of raw, c23, c40"):
        find_corpus("dataset_json", root, {"compression": "c0"})
