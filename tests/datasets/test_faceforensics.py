"""The FaceForensics++ tree, made of empty files."""

import json
from pathlib import Path

import pytest

from deepfake_ms.datasets import find_corpus
from deepfake_ms.errors import UserError

REALS = ("000", "003", "010", "011", "020", "021")
FAKES = ("000_003", "003_000", "010_011", "020_021")
METHODS = ("Deepfakes", "FaceShifter", "NeuralTextures")
CONFIGURATIONS = sorted(path.stem for path in (Path(__file__).parents[2] / "conf/data").glob("*.yaml"))
SPLITS = {"train.json": [["003", "000"]], "val.json": [["010", "011"]], "test.json": [["020", "021"]]}


def make_sequences(root, compression="c23"):
    folders = {"original_sequences/youtube": REALS, **{f"manipulated_sequences/{method}": FAKES for method in METHODS}}
    for folder, stems in folders.items():
        videos = root / folder / compression / "videos"
        videos.mkdir(parents=True)
        for stem in stems:
            (videos / f"{stem}.mp4").touch()


def make_splits(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name, pairs in SPLITS.items():
        (folder / name).write_text(json.dumps(pairs))


@pytest.fixture
def corpus(tmp_path):
    make_sequences(tmp_path)
    make_splits(tmp_path / "splits")
    return tmp_path


def by_id(corpus):
    sources = {source.video_id: source for source in corpus.sources}
    assert len(sources) == len(corpus.sources)
    return sources


def test_labels_methods_identities_sources_and_subsets(corpus):
    found = by_id(find_corpus("faceforensics", corpus))
    assert len(found) == len(REALS) + len(METHODS) * len(FAKES)
    described = {
        video_id: (
            found[video_id].label,
            found[video_id].method,
            found[video_id].identities,
            found[video_id].source_video,
            found[video_id].official_subset,
        )
        for video_id in ("youtube/003", "Deepfakes/000_003", "FaceShifter/003_000", "Deepfakes/010_011", "youtube/021")
    }
    assert described == {
        "youtube/003": ("real", "real", ("003",), None, "train"),
        "Deepfakes/000_003": ("fake", "Deepfakes", ("000", "003"), "youtube/000", "train"),
        "FaceShifter/003_000": ("fake", "FaceShifter", ("003", "000"), "youtube/003", "train"),
        "Deepfakes/010_011": ("fake", "Deepfakes", ("010", "011"), "youtube/010", "validation"),
        "youtube/021": ("real", "real", ("021",), None, "test"),
    }
    source = found["Deepfakes/000_003"]
    assert source.name == "manipulated_sequences/Deepfakes/c23/videos/000_003.mp4"
    assert source.path == corpus / source.name


@pytest.mark.parametrize("folder", ["", "splits", "dataset/splits"])
def test_split_files_are_found_in_the_usual_places(tmp_path, folder):
    make_sequences(tmp_path)
    make_splits(tmp_path / folder)
    assert by_id(find_corpus("faceforensics", tmp_path))["youtube/020"].official_subset == "test"


def test_listed_videos_that_the_folders_lack_are_reported(corpus):
    (corpus / "original_sequences/youtube/c23/videos/011.mp4").unlink()
    missing = find_corpus("faceforensics", corpus, {"methods": ["Deepfakes"]}).missing
    assert missing == (
        "manipulated_sequences/Deepfakes/c23/videos/011_010.mp4",
        "manipulated_sequences/Deepfakes/c23/videos/021_020.mp4",
        "original_sequences/youtube/c23/videos/011.mp4",
    )


def test_without_split_files_nothing_is_official_or_missing(tmp_path):
    make_sequences(tmp_path)
    corpus = find_corpus("faceforensics", tmp_path)
    assert {source.official_subset for source in corpus.sources} == {None}
    assert corpus.missing == ()


def test_an_incomplete_set_of_split_files_is_refused(corpus):
    (corpus / "splits/val.json").unlink()
    with pytest.raises(UserError, match=r"splits lacks val\.json"):
        find_corpus("faceforensics", corpus)


@pytest.mark.parametrize("text", ["", "{}", '[["000"]]', "[[0, 3]]", '["000", "003"]'])
def test_a_split_file_that_is_not_a_list_of_pairs_is_refused(corpus, text):
    (corpus / "splits/val.json").write_text(text)
    with pytest.raises(UserError, match=r"val\.json is not a list of pairs"):
        find_corpus("faceforensics", corpus)


def test_a_sequence_in_two_subsets_is_refused(corpus):
    (corpus / "splits/test.json").write_text('[["020", "010"]]')
    with pytest.raises(UserError, match=r"test\.json names 010"):
        find_corpus("faceforensics", corpus)


@pytest.mark.parametrize("folder", ["raw", "c0"])
def test_the_folder_of_c0_may_have_either_name(tmp_path, folder):
    make_sequences(tmp_path, folder)
    names = {source.name for source in find_corpus("faceforensics", tmp_path, {"compression": "c0"}).sources}
    assert f"original_sequences/youtube/{folder}/videos/000.mp4" in names


def test_both_names_at_once_are_refused(tmp_path):
    make_sequences(tmp_path, "raw")
    make_sequences(tmp_path, "c0")
    with pytest.raises(UserError, match="both"):
        find_corpus("faceforensics", tmp_path, {"compression": "c0"})


def test_methods_can_be_selected(corpus):
    chosen = find_corpus("faceforensics", corpus, {"methods": ["FaceShifter", "Deepfakes"]})
    assert {source.method for source in chosen.sources} == {"real", "FaceShifter", "Deepfakes"}
    one = find_corpus("faceforensics", corpus, {"methods": "NeuralTextures"})
    assert {source.method for source in one.sources} == {"real", "NeuralTextures"}


@pytest.mark.parametrize("methods", [["Deepfakes", "FaceSwap"], ["DeepFakeDetection"], []])
def test_an_unavailable_method_is_refused_with_the_available_ones(corpus, methods):
    with pytest.raises(UserError, match="Deepfakes, NeuralTextures, FaceShifter") as error:
        find_corpus("faceforensics", corpus, {"methods": methods})
    assert not methods or methods[-1] in str(error.value)


def test_an_unavailable_compression_is_refused_with_the_available_ones(corpus):
    with pytest.raises(UserError, match=r"no c40 videos in original_sequences/youtube/ \(but c23\)"):
        find_corpus("faceforensics", corpus, {"compression": "c40"})
    with pytest.raises(UserError, match="c0, c23, c40"):
        find_corpus("faceforensics", corpus, {"compression": "hq"})


def test_hidden_files_are_ignored(corpus):
    (corpus / "original_sequences/youtube/c23/videos/._000.mp4").touch()
    assert len(find_corpus("faceforensics", corpus).sources) == len(REALS) + len(METHODS) * len(FAKES)


def test_a_name_without_identities_is_refused(corpus):
    (corpus / "manipulated_sequences/Deepfakes/c23/videos/000.mp4").touch()
    with pytest.raises(UserError, match="does not identify the people"):
        find_corpus("faceforensics", corpus)


def test_wrong_roots_are_refused_with_the_expected_tree(tmp_path):
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match="manipulated_sequences/METHOD/COMPRESSION/videos"):
            find_corpus("faceforensics", root)
    originals = tmp_path / "original_sequences/youtube/c23/videos"
    originals.mkdir(parents=True)
    (originals / "000.mp4").touch()
    with pytest.raises(UserError, match="any method") as error:
        find_corpus("faceforensics", tmp_path)
    assert "NNN_MMM.mp4" in str(error.value)


@pytest.mark.parametrize("data", ["faceforensics", "faceshifter", "dfd"])
def test_the_name_of_the_data_includes_the_compression(call, data):
    status, out, _ = call(
        "prepare", f"data={data}", "data.root=x", "data.options.compression=c40", "--cfg", "job", "--resolve"
    )
    assert status == 0
    assert f"name: {data}_c40" in out


def test_faceshifter_is_a_method_with_a_configuration_of_its_own(corpus, call):
    _, out, _ = call("prepare", "data=faceshifter", "data.root=x", "--cfg", "job")
    assert "layout: faceforensics" in out
    chosen = find_corpus("faceforensics", corpus, {"compression": "c23", "methods": ["FaceShifter"]})
    assert {source.method for source in chosen.sources} == {"real", "FaceShifter"}


DRAWN_OR_JOINED = ("miniature", "shift_", "union")


@pytest.mark.parametrize("data", [name for name in CONFIGURATIONS if not name.startswith(DRAWN_OR_JOINED)])
def test_every_configuration_reaches_its_layout(call, data):
    status, _, error = call("prepare", f"data={data}", "data.root=nowhere")
    assert status == 2
    assert "nowhere does not exist; the layout of" in error


def test_other_suffixes_and_subfolders_are_read(corpus):
    videos = corpus / "original_sequences/youtube/c23/videos"
    (videos / "part").mkdir()
    (videos / "000.mp4").rename(videos / "part/000.MP4")
    found = find_corpus("faceforensics", corpus)
    source = by_id(found)["youtube/000"]
    assert (source.name, source.official_subset) == ("original_sequences/youtube/c23/videos/part/000.MP4", "train")
    assert by_id(found)["Deepfakes/000_003"].source_video == "youtube/000"
    assert not any("000.mp4" in name for name in found.missing)


def test_an_unknown_method_is_named(corpus):
    (corpus / "manipulated_sequences/Deepfake/c23/videos").mkdir(parents=True)
    (corpus / "manipulated_sequences/Deepfake/c23/videos/000_003.mp4").touch()
    assert find_corpus("faceforensics", corpus).ignored == {
        "outside the folders of the layout": ["manipulated_sequences/Deepfake/ (1 videos and images)"]
    }


def test_methods_that_are_no_list_are_refused(corpus):
    with pytest.raises(UserError, match="methods=5 is not a list"):
        find_corpus("faceforensics", corpus, {"methods": 5})
