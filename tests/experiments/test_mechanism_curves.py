"""The curves of the mechanism study: their corpora, effects per point, and the figure."""

import json
from pathlib import Path

import pandas as pd
import pytest
from fake_runs import make_run

from deepfake_ms.composition import compose
from experiments.mechanism import curves
from experiments.mechanism.curves import MASKED, POINTS, SHARE, STRENGTH, Point
from experiments.report.cells import SCORED


def test_points_vary_one_thing_at_a_time():
    assert len(POINTS) == 8
    assert all(point.strength == STRENGTH or point.share == SHARE for point in POINTS)
    assert len({point.name for point in POINTS}) == len(POINTS)


def test_a_point_changes_all_artefacts_but_the_one_at_the_eyes():
    usual = compose("data=miniature_shortcut").data
    drawn = compose(*Point(0.5, 0.3).overrides()).data
    assert drawn.draw.artefacts.eyes == usual.draw.artefacts.eyes
    for name in ("seam", "mouth", "resample"):
        assert drawn.draw.artefacts[name] == pytest.approx(0.5 * usual.draw.artefacts[name])
    assert drawn.draw.eye_share_training == 0.3
    assert drawn.draw.eye_share_test == usual.draw.eye_share_test
    assert drawn.draw.seed != usual.draw.seed
    assert drawn.root == "corpora/shortcut_strength_50_share_30"


def test_strengths_stay_in_their_range():
    for point in POINTS:
        assert all(0 <= strength <= 1 for strength in compose(*point.overrides()).data.draw.artefacts.values())


def make_point(root: Path, point: Point, gain: float) -> None:
    """Runs of RF and RF+MEP whose scores differ by `gain` on fakes without the artefact at the eyes, and its corpus."""
    runs = root / "runs" / point.name / "genconvit_ed_lite"
    for row, shift in (("rf", 0.0), ("rf_mep", gain)):
        folder = make_run(runs, row, 0)
        path = folder / SCORED / "predictions.parquet"
        faces = pd.read_parquet(path)
        number = faces["video_id"].str[1:].astype(int)
        # Fakes are odd; those above 5 lack the artefact, and score like real faces unless `shift` lifts them.
        faces["fake_probability"] = 0.1 + 0.8 * number.isin((1, 3, 5)) + 0.001 * (number % 5)
        faces.loc[(number % 2 == 1) & (number > 5), "fake_probability"] += shift
        faces.to_parquet(path)
    corpus = root / "corpora" / point.name
    corpus.mkdir(parents=True)
    fakes = {f"v{number:02}.mp4": {"eyes": float(number <= 5)} for number in range(1, 12, 2)}
    (corpus / "corpus.json").write_text(json.dumps({"fakes": fakes}))


def test_effects_over_strength_and_share(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for point in POINTS[:3]:
        make_point(tmp_path, point, gain=0.3 if point.strength < STRENGTH else 0.0)
    curves.main(["--report", "--output", str(tmp_path / "output"), "--resamples", "100"])
    shown = capsys.readouterr().out
    assert f"{POINTS[3].name}: not trained yet." in shown
    assert "mechanism_rf_mouth_mask/seed_0" in shown  # missing
    found = pd.read_csv(tmp_path / "output" / "curves_SYNTHETIC.csv").fillna({"minus": ""})
    effects = found[(found["minus"] == "RF") & (found["level"] == "video") & (found["group"] == "fakes without it")]
    assert effects.set_index("strength")["mean"].gt(0.3).to_dict() == {0.25: True, 0.5: True, 1.0: False}
    assert set(effects["row"]) == {MASKED[0].title}
    written = (tmp_path / "output" / "curves_SYNTHETIC.md").read_text()
    assert written.startswith("# SYNTHETIC")
    assert "| RF+MEP − RF |" in written
    assert "SYNTHETIC" in (tmp_path / "output" / "curves_SYNTHETIC.svg").read_text()


def test_nothing_trained_yet_is_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        curves.main(["--report"])
    assert "contains no finished run of this study: train first, without --report." in capsys.readouterr().err
