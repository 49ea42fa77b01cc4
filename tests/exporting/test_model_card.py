"""The model card: valid for Hugging Face, and nothing in it that the run's records do not say."""

import json
import re
import shutil

import numpy as np
import pytest
from exported_run import crops_of
from huggingface_hub import ModelCard

from deepfake_ms.data.audit import audit_split
from deepfake_ms.data.splits import SplitPolicy
from deepfake_ms.errors import UserError
from deepfake_ms.evaluation.protocol_card import FIELDS
from deepfake_ms.exporting.model_card import model_card
from deepfake_ms.exporting.results import read_audit, read_results
from deepfake_ms.files import write_json
from deepfake_ms.scoring.metrics import LEVELS, TITLES


@pytest.fixture
def card(exported) -> str:
    return (exported.folder / "README.md").read_text()


def card_of(exported, results=None, audit=None, **changes) -> str:
    """The card with other results or another split, and after `changes` of config.json: ``part.key`` → value."""
    config = json.loads((exported.folder / "config.json").read_text())
    for key, value in changes.items():
        part, name = key.split(".")
        config[part][name] = value
    results = results or read_results(exported.run.folder, exported.scores["checkpoint_sha256"])
    return model_card(config, exported.run.config, results, audit or {}, parameters=1)


def table_under(card: str, heading: str) -> dict[str, list[str]]:
    """The first table below a heading: first cell → the others."""
    lines = card[card.index(heading) :].splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return {row[0]: row[1:] for row in rows[2:]}


def test_header_is_read_by_hugging_face(exported, card):
    data = ModelCard(card).data
    assert (data.license, data.license_name) == ("other", "not-stated")
    assert data.pipeline_tag == "image-classification"
    assert "synthetic-data" in data.tags
    values = {each.metric_name: each.metric_value for each in data.eval_results}
    for level in LEVELS:
        assert values[f"AUROC per {level}"] == round(exported.scores["metrics"][level]["auroc"], 4)
    assert all("SYNTHETIC" in each.dataset_name for each in data.eval_results)


def test_metrics_are_those_of_the_evaluation(exported, card):
    found = table_under(card, "## Metrics")
    for name, title in TITLES.items():
        for level, cell in zip(LEVELS, found[title], strict=True):
            chosen = exported.scores["metrics_at_validation_thresholds"][level]
            expected = chosen.get(name, exported.scores["metrics"][level][name])
            value, *bounds = map(float, re.findall(r"\d\.\d+", cell))
            assert value == pytest.approx(expected, abs=5.1e-4), (name, level)
            if bounds:
                assert bounds[0] - 1e-3 <= value <= bounds[1] + 1e-3
    assert sum("[" in cell for cells in found.values() for cell in cells) >= len(TITLES)


def test_states_protocol_and_provenance(exported, card):
    protocol = table_under(card, "Protocol card:")
    assert {title: protocol[title] for title in FIELDS.values()} == {
        title: [exported.scores["protocol_card"][key]] for key, title in FIELDS.items()
    }
    assert exported.scores["checkpoint_sha256"] in card
    assert exported.run.record["code"] in card
    for heading in ("Intended use", "Limits", "Licence", "Provenance"):
        assert f"\n## {heading}\n" in card
    assert f"sigmoid(logit(P) / {exported.scores['temperatures']['video']:.4f})" in card
    assert f"Above {exported.scores['validation_thresholds']['video']:.4f}" in card


def test_states_the_split(exported, tmp_path):
    subsets = exported.run.split["subset"].copy()
    subsets[exported.run.rows("test")[0]] = "train"  # a video in two subsets
    audit = audit_split(exported.run.faces.manifest, subsets, SplitPolicy(policy="paper_frames"))
    write_json(tmp_path / "split_audit.json", audit)
    card = card_of(exported, audit=read_audit(tmp_path))
    sizes = table_under(card, "## Data and split")
    for subset, counts in audit["subsets"].items():
        assert sizes[subset] == [str(counts[name]) for name in ("real", "fake", "videos", "identities")]
    assert "Shared by train and test: 1 videos, 0 people, 0 near-duplicate faces." in card


def test_drawn_faces_are_labelled_and_real_ones_are_not(exported, card):
    assert "SYNTHETIC: this detector was trained on drawn faces" in card
    assert card.splitlines()[card.splitlines().index("---", 1) + 2].endswith("(SYNTHETIC)")
    (result,) = read_results(exported.run.folder, exported.scores["checkpoint_sha256"])
    result.scores["test_data"]["synthetic"] = False
    real = card_of(exported, [result], **{"detector.synthetic": False})
    assert "SYNTHETIC" not in real
    assert "drawn" not in real


def test_groups_and_other_test_sets(exported, tmp_path):
    """Results on another corpus with two groups, of which one is worse."""
    run = shutil.copytree(exported.run.folder, tmp_path / "run")
    other = shutil.copytree(run / "evaluation" / "test", run / "evaluation" / "elsewhere") / "selected"
    scores = json.loads((other / "scores.json").read_text())
    group = {"by": "method", "fakes": 3, "reals": 0, "low": 0.5, "high": 0.9, "fake_error": 0.25, "real_error": None}
    scores |= {
        "test_set": "elsewhere",
        "own": False,
        "test_evaluations": 7,
        "breakdown": [{**group, "group": "a|b", "auroc": 0.75}, {**group, "group": "c", "auroc": 0.9}],
    }
    write_json(other / "scores.json", scores)
    results = read_results(run, scores["checkpoint_sha256"])
    assert [result.name for result in results] == ["test", "elsewhere"]
    card = card_of(exported, results)
    assert r"| method | a\|b | 3 | 0.750 [0.500, 0.900] | 0.250 | – |" in card
    assert "Worst group: method a|b in elsewhere, AUROC 0.750 per video." in card
    assert "evaluated 7 times on test sets" in card
    assert "on its own corpus only" not in card


def test_scores_of_another_checkpoint_are_not_reported(exported, tmp_path):
    run = shutil.copytree(exported.run.folder, tmp_path / "run")
    with pytest.raises(UserError, match="has no scores for its model card: run deepfake-ms evaluate"):
        read_results(run, "0" * 64)


def test_licence_is_stated(exported):
    card = card_of(exported, **{"license.weights": "cc-by-nc-4.0"})
    assert ModelCard(card).data.license == "cc-by-nc-4.0"
    assert "The weights: cc-by-nc-4.0" in card


def test_without_a_threshold_there_is_no_decision(exported):
    """A validation set of one class."""
    nothing = {"frame": None, "video": None}
    card = card_of(exported, **{"detector.thresholds": nothing, "detector.temperatures": nothing})
    assert "The validation set lacks a class, so there is no threshold." in card
    assert "calibrated" not in card


def test_every_example_runs(exported, card):
    faces = crops_of(exported)[:3]
    blocks = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        names = {"faces": faces}
        exec(block.replace("FOLDER", str(exported.folder)), names)
        assert names["fake_probability"] == pytest.approx(exported.detector.probabilities(faces), abs=1e-6)
        assert np.isfinite(names["fake_probability"]).all()


@pytest.fixture
def copied(exported, tmp_path):
    """A copy of the run whose results can be damaged."""
    return shutil.copytree(exported.run.folder, tmp_path / "seed_0")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("videos.csv", lambda content: content[: len(content) // 2]),
        ("videos.csv", lambda content: b"hello\n"),
        ("predictions.parquet", lambda content: None),
        ("predictions.parquet", lambda content: content[: len(content) // 2]),
        ("scores.json", lambda content: b""),
        ("scores.json", lambda content: b"[]"),
        ("scores.json", lambda content: content[: len(content) // 2]),
    ],
)
def test_damaged_results_are_one_sentence(exported, copied, name, change):
    """Half a table must not become a card."""
    path = copied / "evaluation" / "test" / "selected" / name
    content = change(path.read_bytes())
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(UserError, match=r"evaluation/test/selected .*run deepfake-ms evaluate run=\S+ again") as caught:
        read_results(copied, exported.scores["checkpoint_sha256"])
    assert "\n" not in str(caught.value)


def test_a_killed_evaluation_has_no_card(exported, copied):
    (copied / "evaluation" / "test" / "selected" / "videos.csv").unlink()
    with pytest.raises(UserError, match=r"has no scores for its model card: run deepfake-ms evaluate run=\S+ first"):
        read_results(copied, exported.scores["checkpoint_sha256"])


@pytest.mark.parametrize("key", ["test_data", "protocol_card", "frames", "coverage", "validation_thresholds", "own"])
def test_scores_of_an_earlier_version_are_one_sentence(exported, copied, key):
    path = copied / "evaluation" / "test" / "selected" / "scores.json"
    scores = json.loads(path.read_text())
    for value in (KeyError, "x", 3.5):
        changed = {name: each for name, each in scores.items() if name != key or value is not KeyError}
        write_json(path, changed if value is KeyError else {**scores, key: value})
        with pytest.raises(UserError, match="again for that test set, or delete this folder"):
            read_results(copied, exported.scores["checkpoint_sha256"])


def test_a_damaged_audit_is_one_sentence(exported, tmp_path):
    subsets = ["train"] * 25 + ["validation"] * 11 + ["test"] * 11
    audit = audit_split(exported.run.faces.manifest, np.array(subsets), SplitPolicy(policy="video"))
    path = tmp_path / "split_audit.json"
    write_json(path, audit)
    assert read_audit(tmp_path) == json.loads(path.read_text())
    for key in ("subsets", "shared", "split"):
        for value in (None, {}, "x", [1]):
            write_json(path, {**audit, key: value})
            if key == "shared" and value == {}:
                continue
            with pytest.raises(UserError, match=r"split_audit\.json .*restore it from a copy, or delete it"):
                read_audit(tmp_path)
    path.write_text("{")
    with pytest.raises(UserError, match="is damaged or incomplete"):
        read_audit(tmp_path)
