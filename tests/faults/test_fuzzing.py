"""Random input for everything that reads the user's files: a sentence or a valid result, never another exception."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepfake_ms.data.splits import POLICIES, SUBSETS, UNUSED, SplitPolicy, split_manifest
from deepfake_ms.datasets import LAYOUTS, find_corpus
from deepfake_ms.errors import UserError
from deepfake_ms.manifest import MANIFEST_NAME, SCHEMA, read_manifest
from deepfake_ms.score_files.importers import read_scores

FEW, MANY = 30, 1500
EFFORTS = [pytest.param(FEW, id="few"), pytest.param(MANY, id="many", marks=pytest.mark.slow)]


def explore(record_property, examples: int, strategy, check) -> None:
    """Call `check` with so many examples, the same in every run, and record their number."""
    tried = 0

    @settings(max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=HealthCheck)
    @given(strategy)
    def run(example) -> None:
        nonlocal tried
        tried += 1
        check(example)

    run()
    record_property("tried", tried)
    record_property("survived", tried)


# --- layouts

NAMES = st.sampled_from(
    [
        *("real", "fake", "train", "test", "Celeb-real", "YouTube-real", "Celeb-synthesis", "original_sequences"),
        *("youtube", "actors", "c23", "videos", "manipulated_sequences", "Deepfakes", "FaceSwap", "splits", "source"),
        *("target", "dfdc_train_part_0", "method_A", "original_videos", "fake_test", "real_train", "frames", "0", "1"),
    ]
)
FILES = st.sampled_from(
    [
        *("id0_0000.mp4", "id0_id1_0000.mp4", "00000.mp4", "000.mp4", "000_003.mp4", "01__walk.mp4", "a.mp4", "a.png"),
        *(
            "01_02__walk__ABCD1234.mp4",
            "a_1.png",
            "a_2.png",
            "1.jpg",
            "x.txt",
            ".hidden.mp4",
            "ünï cödé.mp4",
            "a b.avi",
        ),
        *("metadata.json", "dataset.json", "train.json", "val.json", "test.json", "List_of_testing_videos.txt"),
        *("labels.csv", "table.csv", "corpus.json"),
    ]
)
CONTENTS = st.one_of(
    st.just(b""),
    st.binary(max_size=60),
    st.text(max_size=60).map(str.encode),
    st.sampled_from(
        [
            *(b"[]", b"{}", b"null", b"3", b'"x"', b"[[]]", b'[["000", "003"]]', b'[["000"]]', b"[1, 2]", b'{"a": 1}'),
            *(b'{"a.mp4": {"label": "REAL", "split": "train"}}', b'{"a.mp4": {"label": "FAKE", "original": 3}}'),
            *(
                b"1 Celeb-real/id0_0000.mp4\n",
                b"0 Celeb-synthesis/id0_id1_0000.mp4",
                b"1\n",
                b"filename,label\na.mp4,1\n",
            ),
            *(b"filename,label\na.mp4\n", b"path,label\na.mp4,real\n", b'{"a.mp4": {"label": "fake", "set": "train"}}'),
        ]
    ),
)
TREES = st.lists(st.tuples(st.lists(NAMES, max_size=5), FILES, CONTENTS), min_size=1, max_size=8)


@pytest.mark.fault("Fuzzing", "corpus layouts: random trees, names and lists")
@pytest.mark.parametrize("examples", [pytest.param(8, id="few"), pytest.param(400, id="many", marks=pytest.mark.slow)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_random_tree_is_a_corpus_or_one_sentence(record_property, layout, examples):
    def check(tree) -> None:
        with tempfile.TemporaryDirectory() as name:
            for folders, file, content in tree:
                folder = Path(name, *folders)
                folder.mkdir(parents=True, exist_ok=True)
                (folder / file).write_bytes(content)
            try:
                corpus = find_corpus(layout, Path(name))
            except UserError:
                return
            assert corpus.sources
            assert {source.label for source in corpus.sources} <= {"real", "fake", "unlabelled"}
            assert all(source.path.is_file() for source in corpus.sources)
            frames = [(source.video_id, source.frame_index) for source in corpus.sources]
            assert len(set(frames)) == len(frames)

    explore(record_property, examples, TREES, check)


CELLS = st.one_of(
    st.sampled_from(
        ["real", "fake", "train", "test", "a.png", "b.png", "./a.png", "../a.png", "/a.png", "a", "x;y", ""]
    ),
    st.text(max_size=8),
)


@pytest.mark.fault("Fuzzing", "tables of a corpus")
@pytest.mark.parametrize("examples", EFFORTS)
def test_a_random_table_is_a_corpus_or_one_sentence(record_property, tmp_path, examples):
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    header = st.lists(
        st.sampled_from(["path", "label", "video", "identity", "source", "method", "subset", "x"]),
        min_size=1,
        max_size=7,
    )
    tables = st.tuples(header, st.lists(st.lists(CELLS, max_size=7), max_size=4))

    def check(table) -> None:
        names, rows = table
        text = "\n".join(",".join(row) for row in [names, *rows])
        (tmp_path / "table.csv").write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            corpus = find_corpus("folder", tmp_path / "table.csv")
        except UserError:
            return
        assert {source.path.name for source in corpus.sources} <= {"a.png", "b.png"}

    explore(record_property, examples, tables, check)


# --- manifests


@pytest.mark.fault("Fuzzing", "manifests: bytes changed, cut off, or inserted")
@pytest.mark.parametrize("examples", EFFORTS)
def test_a_changed_manifest_is_read_or_one_sentence(record_property, faces, tmp_path, examples):
    good = (faces / MANIFEST_NAME).read_bytes()
    changes = st.lists(
        st.tuples(
            st.floats(0, 0.999), st.sampled_from(["flip", "cut", "insert", "zero"]), st.binary(min_size=1, max_size=9)
        ),
        min_size=1,
        max_size=4,
    )

    def check(change) -> None:
        content = bytearray(good)
        for where, what, new in change:
            place = int(where * len(content))
            if what == "flip" and content:
                content[place] ^= new[0] or 1
            elif what == "cut":
                del content[place:]
            elif what == "insert":
                content[place:place] = new
            else:
                content[place : place + 50] = bytes(len(content[place : place + 50]))
        (tmp_path / MANIFEST_NAME).write_bytes(content)
        try:
            manifest = read_manifest(tmp_path)
        except UserError:
            return
        assert list(manifest) == SCHEMA.names
        assert manifest["sample_id"].is_unique
        assert not manifest["crop"].str.contains(r"\.\.").any()

    explore(record_property, examples, changes, check)


# --- splits

PEOPLE = st.lists(st.sampled_from("abcdefgh"), max_size=2, unique=True)
VIDEOS = st.lists(
    st.tuples(
        st.sampled_from(["real", "fake", "unlabelled"]),
        PEOPLE,
        st.integers(1, 4),
        st.sampled_from([None, "train", "validation", "test"]),
        st.sampled_from(["swap", "reenactment"]),
    ),
    min_size=1,
    max_size=25,
)
SETTINGS = st.builds(
    SplitPolicy,
    policy=st.sampled_from(POLICIES),
    seed=st.integers(0, 3),
    held_out_methods=st.sampled_from([(), ("swap",)]),
)


@pytest.mark.fault("Fuzzing", "splits of random manifests: nothing is shared, order does not matter")
@pytest.mark.parametrize("examples", EFFORTS)
def test_a_random_split_keeps_its_promise(record_property, examples):
    def check(example) -> None:
        videos, policy, order = example
        manifest = pd.DataFrame(
            [
                {
                    "sample_id": f"v{number}#{frame}",
                    "video_id": f"v{number}",
                    "label": label,
                    "method": method if label == "fake" else label,
                    "identities": people,
                    "official_subset": subset,
                }
                for number, (label, people, frames, subset, method) in enumerate(videos)
                for frame in range(frames)
            ]
        )
        try:
            subsets = split_manifest(manifest, policy)
        except UserError:
            return
        assert set(subsets) <= {*SUBSETS, UNUSED}
        assert (subsets[manifest["label"] == "unlabelled"] == UNUSED).all()
        held_out = manifest["method"].isin(policy.held_out_methods)
        assert set(subsets[held_out]) <= {"test", UNUSED}
        if policy.policy != "paper_frames":
            assert (subsets.groupby(manifest["video_id"]).nunique() == 1).all()
        if policy.policy == "identity":
            used = manifest.assign(subset=subsets)[subsets != UNUSED].explode("identities").dropna(subset="identities")
            assert (used.groupby("identities")["subset"].nunique() == 1).all()
        shuffled = manifest.sample(frac=1, random_state=order)
        again = split_manifest(shuffled.reset_index(drop=True), policy)
        again.index = shuffled.index
        assert again.sort_index().tolist() == subsets.tolist()

    explore(record_property, examples, st.tuples(VIDEOS, SETTINGS, st.integers(0, 9)), check)


# --- score files

SCORE_CELLS = st.one_of(
    st.sampled_from(
        ["celeb", "v1", "v2", "0", "1", "007", "real", "fake", "0.5", "1.0", "nan", "inf", "-0", "1e-3", ""]
    ),
    st.floats().map(str),
    st.text(max_size=5),
)
COLUMNS = [
    ("test_set", "video", "frame", "label", "score"),
    ("test_set", "video", "label", "score"),
    ("files", "labels", "prob_class_0", "prob_class_1"),
    ("sample_id", "video_id", "label", "method", "fake_probability"),
]


@pytest.mark.fault("Fuzzing", "score files in every layout, as CSV and Parquet")
@pytest.mark.parametrize("examples", EFFORTS)
def test_random_scores_are_valid_or_one_sentence(record_property, tmp_path, examples):
    rows = st.lists(st.lists(SCORE_CELLS, min_size=5, max_size=5), max_size=6)
    sources = st.one_of(
        st.tuples(st.just("csv"), st.sampled_from(COLUMNS), rows),
        st.tuples(st.just("parquet"), st.sampled_from(COLUMNS), rows),
        st.tuples(st.just("bytes"), st.just(()), st.binary(max_size=80)),
    )

    def check(source) -> None:
        kind, columns, content = source
        path = tmp_path / ("scores.parquet" if kind == "parquet" else "scores.csv")
        if kind == "bytes":
            path.write_bytes(content)
        else:
            table = pd.DataFrame([row[: len(columns)] for row in content], columns=list(columns), dtype=object)
            if kind == "csv":
                path.write_bytes(table.to_csv(index=False).encode("utf-8", "surrogatepass"))
            else:
                table.to_parquet(path)
        try:
            scores = read_scores(path)
        except UserError:
            return
        assert len(scores)
        assert scores["score"].between(0, 1).all()
        assert set(scores["label"]) == {0, 1}
        assert not scores.duplicated(["test_set", "video", "frame"]).any()
        assert np.isfinite(scores["score"]).all()

    explore(record_property, examples, sources, check)
