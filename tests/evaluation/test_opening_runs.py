"""Opening a run to score it: its faces are found where they are now, and other faces are refused."""

import json
import shutil

import pandas as pd
import pytest
import tiny_run
from scored import finished_run, scored

from deepfake_ms.errors import UserError
from deepfake_ms.files import write_json
from deepfake_ms.manifest import MANIFEST_NAME
from deepfake_ms.training.run import Run


@pytest.fixture
def own(tmp_path):
    """A finished run with faces of its own, in ``first/tiny-0123456789ab``."""
    faces = tiny_run.write_faces(tmp_path / "first" / "tiny-0123456789ab")
    return finished_run(tmp_path / "run", faces)


def change_manifest(folder) -> None:
    manifest = pd.read_parquet(folder / MANIFEST_NAME)
    manifest.assign(probability=0.5).to_parquet(folder / MANIFEST_NAME, index=False)


def test_a_run_is_opened_as_it_was_trained(own):
    opened = Run.open(own.folder)
    assert opened.record == own.record
    assert opened.faces.folder == own.faces.folder
    pd.testing.assert_frame_equal(opened.split, own.split)
    assert opened.curriculum == own.curriculum


def test_moved_faces_are_found_by_their_fingerprint(own, tmp_path):
    moved = shutil.move(tmp_path / "first", tmp_path / "second") / own.faces.folder.name
    with pytest.raises(UserError, match=r"are not in .*first.*: give their folder with prepared=\.\.\.$"):
        Run.open(own.folder)
    assert Run.open(own.folder, prepared_root=tmp_path / "second").faces.folder == moved
    assert Run.open(own.folder, prepared=moved).faces.folder == moved
    run = Run.open(shutil.move(own.folder, tmp_path / "moved_run"), prepared_root=tmp_path / "second")
    assert scored(run)[0]["test_evaluations"] == 1


def test_the_folder_with_the_recorded_content_is_chosen(own, tmp_path):
    root = tmp_path / "root"
    for name in ("a-0123456789ab", "b-0123456789ab", "c-0123456789ab", "d-999999999999"):
        shutil.copytree(own.faces.folder, root / name)
    for name in ("a-0123456789ab", "c-0123456789ab"):
        change_manifest(root / name)
    shutil.rmtree(own.faces.folder)
    assert Run.open(own.folder, prepared_root=root).faces.folder == root / "b-0123456789ab"
    shutil.rmtree(root / "b-0123456789ab")
    with pytest.raises(UserError, match=r"tiny-0123456789ab and .*a-0123456789ab and .*c-0123456789ab: give"):
        Run.open(own.folder, prepared_root=root)


def test_other_faces_are_refused(own, tmp_path):
    other = shutil.copytree(own.faces.folder, tmp_path / "other")
    change_manifest(other)
    with pytest.raises(UserError, match=rf"trained on \(0123456789ab\) are not in {other}: give"):
        Run.open(own.folder, other)
    change_manifest(own.faces.folder)
    with pytest.raises(UserError, match=rf"are not in {own.faces.folder}: give"):
        Run.open(own.folder)
    (other / MANIFEST_NAME).write_bytes(b"")
    with pytest.raises(UserError, match="not a readable Parquet file"):
        Run.open(own.folder, other)


def test_a_run_without_its_split_is_refused(own):
    (own.folder / "split.parquet").unlink()
    with pytest.raises(UserError, match=r"split\.parquet is missing: run the same train command again"):
        Run.open(own.folder)


def test_a_run_of_an_earlier_version_is_refused_with_the_remedy(own, call):
    path = own.folder / "run.json"
    record = json.loads(path.read_text())
    write_json(path, {key: value for key, value in record.items() if key != "format"})
    sentence = (
        f"{path} was written by an earlier version ({record['code']}), and this one can neither continue nor score its "
        "run: use that version, or train again under another name with name=..."
    )
    with pytest.raises(UserError) as error:
        Run.open(own.folder)
    assert str(error.value) == sentence
    status, _, errors = call("evaluate", f"run={own.folder}")
    assert status == 2
    assert errors == f"error: {sentence}\n"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, r"run\.json is missing: give the folder of a run"),
        ('{"config": ', r"run\.json is not valid JSON .*delete"),
    ],
)
def test_a_folder_that_is_not_a_run_is_refused(own, content, sentence):
    path = own.folder / "run.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(UserError, match=sentence):
        Run.open(own.folder)
