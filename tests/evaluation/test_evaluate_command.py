"""``deepfake-ms evaluate`` on other corpora: they are found by name, several at once, and by a suite."""

import json

import pytest
from foreign import Video, add_corpus

VIDEOS = [Video("a", "real", subset="test"), Video("b", "fake", subset="test"), Video("c", "fake")]


@pytest.fixture
def prepared(tmp_path):
    """A folder with the faces of three corpora, prepared like those of the tiny runs."""
    for name, options in (("celebdf_v1", {}), ("celebdf_v2", {}), ("dfd_c23", {"compression": "c23"})):
        add_corpus(tmp_path / "prepared", name, VIDEOS, options)
    return tmp_path / "prepared"


def test_a_corpus_is_found_by_its_name(run, prepared, call):
    status, printed, errors = call("evaluate", f"run={run.folder}", "test_set=celebdf_v2", f"prepared_root={prepared}")
    assert status == 0, errors
    assert "Scores on celebdf_v2" in printed
    scores = json.loads((run.folder / "evaluation/celebdf_v2/selected/scores.json").read_text())
    assert scores["test_data"]["fingerprint"] == "celebdf_v2"
    assert scores["protocol_card"]["test"].endswith("its test list")
    assert scores["videos"] == 2


def test_several_corpora_at_once(run, prepared, call):
    chosen = "test_sets=[test,celebdf_v1,{celebdf_v2: all},dfd]"
    status, printed, errors = call("evaluate", f"run={run.folder}", chosen, f"prepared_root={prepared}")
    assert status == 0, errors
    assert "All test sets, per video" in printed
    folders = {path.name for path in (run.folder / "evaluation").iterdir()}
    assert folders == {"test", "validation", "celebdf_v1", "celebdf_v2", "dfd_c23"}
    videos = {
        name: json.loads((run.folder / f"evaluation/{name}/selected/scores.json").read_text())["videos"]
        for name in ("celebdf_v1", "celebdf_v2", "dfd_c23")
    }
    assert videos == {"celebdf_v1": 2, "celebdf_v2": 3, "dfd_c23": 2}


def test_faces_that_are_not_prepared_are_named(run, prepared, call):
    status, _, errors = call("evaluate", f"run={run.folder}", "test_set=dfdc", f"prepared_root={prepared}")
    assert status == 2
    assert "has no prepared faces of dfdc" in errors
    assert "run `deepfake-ms prepare`" in errors


def test_the_faces_that_a_run_was_trained_on_give_its_own_test_set(run, prepared, call):
    """Otherwise the training faces of a corpus without a list would be tested."""
    folder = prepared / "celebdf_v1-1"
    (folder / "manifest.parquet").write_bytes((run.faces.folder / "manifest.parquet").read_bytes())
    status, printed, errors = call("evaluate", f"run={run.folder}", "test_set=celebdf_v1", f"prepared_root={prepared}")
    assert status == 0, errors
    assert "Scores on test " in printed
