"""Bad files: every one causes its own sentence, and none a traceback or a silent result."""

import json
import shutil
from pathlib import Path

import pytest
import tiny_run
from bad_files import CORPORA, MANIFESTS, RUNS, SCORES, TABLES, Bad, png, write_media
from rich.console import Console

from deepfake_ms.data.prepared_faces import PreparedFaces
from deepfake_ms.datasets import find_corpus
from deepfake_ms.errors import UserError
from deepfake_ms.preprocessing.prepare import prepare_corpus
from deepfake_ms.preprocessing.settings import PreparationSettings
from deepfake_ms.score_files.importers import read_scores
from deepfake_ms.training.run import Run
from deepfake_ms.training.train_stages import train_stages


def every(bad: list[Bad]):
    return pytest.mark.parametrize("bad", bad, ids=lambda each: each.name)


class NoFaces:
    """Reads every frame and finds nothing in it."""

    def detect(self, images):
        for _ in images:
            yield []


@pytest.mark.fault("Inputs", "bad videos and images")
def test_bad_media_are_quarantined_with_a_reason(tmp_path, record_property):
    bad = write_media(tmp_path / "corpus")
    corpus = find_corpus("folder", tmp_path / "corpus")
    with pytest.raises(UserError, match="No face was found"):
        prepare_corpus(corpus, "bad", PreparationSettings(), tmp_path / "prepared", make_detector=NoFaces)
    (report,) = (tmp_path / "prepared").glob("*/report.json")
    quarantined = {each["source"]: each["reason"] for each in json.loads(report.read_text())["quarantined"]}
    record_property("tried", len(bad))
    record_property("survived", len(quarantined))
    assert quarantined.keys() == {f"fake/{name}" for name in bad}
    for reason in quarantined.values():
        assert 5 < len(reason) <= 200
        assert "Traceback" not in reason


@pytest.mark.fault("Inputs", "bad manifests and descriptions of prepared faces")
@every(MANIFESTS)
def test_a_bad_manifest_is_named(faces, tmp_path, bad):
    folder = shutil.copytree(faces, tmp_path / "faces")
    bad.write(folder)
    with pytest.raises(UserError, match=bad.sentence) as refused:
        PreparedFaces.read(folder)
    assert str(folder) in str(refused.value)


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory, faces) -> Path:
    run = tmp_path_factory.mktemp("stopped") / "run"
    assert tiny_run.interrupt(run, faces, 60)
    made = tiny_run.make_run(run, faces)
    made.split.to_parquet(run / "split.parquet", index=False)
    return run


@pytest.mark.fault("Inputs", "damaged files of a run")
@every(RUNS)
def test_a_damaged_file_of_a_run_is_named(stopped_once, faces, tmp_path, bad):
    folder = shutil.copytree(stopped_once, tmp_path / "run")
    bad.write(folder)
    read = PreparedFaces.read(faces)
    record = json.loads((stopped_once / "run.json").read_text())

    def go_on() -> None:
        run = Run.start(folder, record["config"], read, Console(quiet=True))
        train_stages(run, tiny_run.trainer(), Console(quiet=True))

    with pytest.raises(UserError, match=bad.sentence) as refused:
        go_on()
    assert str(folder) in str(refused.value)


@pytest.mark.fault("Inputs", "bad score files")
@every(SCORES)
def test_a_bad_score_file_is_named(tmp_path, capsys, bad):
    bad.write(tmp_path)
    (path,) = tmp_path.iterdir()
    with pytest.raises(UserError, match=bad.sentence) as refused:
        read_scores(path)
    assert str(tmp_path) in str(refused.value)
    assert "code has run" not in capsys.readouterr().out


@pytest.mark.fault("Inputs", "bad tables of corpora")
@every(TABLES)
def test_a_bad_table_is_named(tmp_path, bad):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.png").write_bytes(png())
    bad.write(tmp_path)
    with pytest.raises(UserError, match=bad.sentence) as refused:
        find_corpus("folder", tmp_path / "table.csv")
    assert "table.csv" in str(refused.value)


@pytest.mark.fault("Inputs", "bad lists and trees of published corpora")
@pytest.mark.parametrize(("layout", "bad"), CORPORA, ids=lambda each: getattr(each, "name", each))
def test_a_bad_list_is_named(tmp_path, layout, bad):
    bad.write(tmp_path)
    with pytest.raises(UserError, match=bad.sentence) as refused:
        find_corpus(layout, tmp_path)
    assert str(tmp_path) in str(refused.value)


CACHES = {
    "audit": lambda faces, run: next((faces / "audits").glob("*.json")),
    "digest of a checkpoint": lambda faces, run: run / "1_masked_eyes/.best.ckpt.sha256.json",
    "published stage": lambda faces, run: next((run.parents[4] / "runs/.stages").glob("*.json")),
    "predictions": lambda faces, run: run / "evaluation/test/selected/predictions.parquet",
    "scores": lambda faces, run: run / "evaluation/test/selected/scores.json",
}


@pytest.mark.slow
@pytest.mark.fault("Inputs", "damaged caches and results are made again")
@pytest.mark.parametrize("damage", ["empty", "cut off", "other JSON"])
@pytest.mark.parametrize("cache", CACHES)
def test_a_damaged_cache_is_made_again(undisturbed, tmp_path, cache, damage):
    from whole_run import Workshop, assert_as_undisturbed

    faces = shutil.copytree(undisturbed.faces, tmp_path / "faces")
    shutil.copytree(undisturbed.folder, tmp_path / "work")
    workshop = Workshop(tmp_path / "work", faces, undisturbed.overrides)
    path = CACHES[cache](faces, workshop.run)
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "cut off": content[: len(content) // 2], "other JSON": b"[1]"}[damage])
    more = ["name=second"] if cache == "published stage" else []
    assert workshop.start(more=more) == [0], workshop.printed
    if not more:
        assert_as_undisturbed(workshop, undisturbed)
