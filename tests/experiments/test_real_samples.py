"""Cross-validation on a few faces: folds by original video, and every face scored once per repeat."""

import pandas as pd
import pytest
import tiny_run

from deepfake_ms.errors import UserError
from experiments.real_samples import __main__ as real_samples


def make_manifest(reals=9, fakes=9) -> pd.DataFrame:
    rows = [(f"real/v{number}", "real") for number in range(reals)] * 2
    rows += [(f"fake/f{number}_v{number}", "fake") for number in range(fakes)]
    return pd.DataFrame(rows, columns=["video_id", "label"])


def test_a_fake_stays_with_its_original():
    assert real_samples.original_of("fake/aabyjxwqyo_ppulbuhtsc") == "ppulbuhtsc"
    assert real_samples.original_of("real/ppulbuhtsc") == "ppulbuhtsc"
    manifest = make_manifest()
    original = manifest["video_id"].map(real_samples.original_of)
    tested = []
    for subsets in real_samples.assign_folds(manifest, folds=3, seed=0):
        assert subsets.groupby(original).nunique().max() == 1
        assert set(subsets) == {"train", "validation", "test"}
        tested += subsets[subsets == "test"].index.tolist()
    assert sorted(tested) == manifest.index.tolist()


def test_other_repeats_have_other_folds():
    first, second = (next(real_samples.assign_folds(make_manifest(), 3, seed)) for seed in (0, 1))
    assert not first.equals(second)


def test_too_few_videos_are_refused():
    with pytest.raises(UserError, match=r"A class has 2 videos, too few for 3 folds"):
        next(real_samples.assign_folds(make_manifest(fakes=2), 3, 0))


def test_results_of_both_detectors_and_their_difference(tmp_path, monkeypatch, capsys):
    """With predictions instead of training: the probe is perfect, the other detector inverted."""
    prepared = tiny_run.write_faces(tmp_path / "faces")

    def score(cfg, faces, subsets, folder):
        about = faces.manifest[subsets == "test"][["sample_id", "video_id"]]
        label = (faces.manifest["label"][subsets == "test"] == "fake").astype(int)
        right = label if cfg.model.name == "linear_probe_lite" else 1 - label
        return about.assign(label=label, fake_probability=0.1 + 0.8 * right)

    monkeypatch.setattr(real_samples, "score_fold", score)
    options = [
        "--prepared",
        str(prepared),
        "--folds",
        "3",
        "--repeats",
        "2",
        "--output",
        str(tmp_path),
        "--resamples",
        "100",
    ]
    real_samples.main(options)
    found = pd.read_csv(tmp_path / "real_samples_SYNTHETIC.csv").fillna({"minus": ""})
    auroc = found[(found["metric"] == "auroc") & (found["level"] == "frame")].set_index(["detector", "minus"])["mean"]
    assert auroc.to_dict() == {("WL+RF+MEP", ""): 0, ("linear probe", ""): 1, ("WL+RF+MEP", "linear probe"): -1}
    written = (tmp_path / "real_samples_SYNTHETIC.md").read_text()
    assert "24 real and 23 fake faces; 3-fold cross-validation by original video, 2 repeats" in written
    assert "So few faces show that the path works" in capsys.readouterr().out


def test_a_folder_without_faces_is_one_sentence(tmp_path, capsys):
    with pytest.raises(SystemExit):
        real_samples.main(["--prepared", str(tmp_path)])
    assert "is not a complete folder of prepared faces" in capsys.readouterr().err
