"""Reliance by occlusion finds the region that a planted detector uses; faithfulness tells good maps from bad ones."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import tiny_run
import torch
from torch import nn

from deepfake_ms.data.face_masks import FaceMask, Size
from deepfake_ms.data.prepared_faces import PreparedFaces
from deepfake_ms.explanation.faithfulness import (
    STEPS,
    deletion_curve,
    localisation_auc,
    pointing_hits,
    random_maps,
    randomised,
    rank_correlation,
)
from deepfake_ms.explanation.regions import REGIONS
from deepfake_ms.explanation.reliance import RANDOM, occlude
from deepfake_ms.explanation.summary import reliance_table, summarise_reliance, summarise_shares
from deepfake_ms.explanation.trained import batches, predict_faces
from deepfake_ms.scoring.clustered_means import clustered_mean

MASKS = {"eyes": FaceMask({"eyes": Size(0.9, 0.5)}), "mouth": FaceMask({"mouth": Size(1.2, 0.7)})}


class MouthDetector(nn.Module):
    """Fake, if the mouth is bright: the fakes of `tiny_run.write_faces` are brighter."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(6.0))
        self.model = self
        self.input_size = tiny_run.SIZE

    def on_after_batch_transfer(self, batch, _):
        return {**batch, "image": batch["image"].float() / 255}

    def forward(self, image):
        mouth = image[:, :, 23:28, 10:22].mean(dim=(1, 2, 3))
        fake = self.weight * (mouth - 0.43)
        return torch.stack([-fake, fake], dim=1)


class Stage:
    def __init__(self, faces):
        self.detector = MouthDetector()
        self.model = self.detector
        self.run = type("Run", (), {"faces": faces})


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return PreparedFaces.read(tiny_run.write_faces(tmp_path_factory.mktemp("prepared") / "faces"))


def test_the_region_that_a_detector_uses_is_found(faces):
    rows = np.arange(len(faces.manifest))
    found = {tuple(key): table for *key, table in occlude(Stage(faces), rows, MASKS)}
    assert len(found) == 1 + 2 * 3 * 2
    assert found["", "", ""]["fake_probability"].between(0, 1).all()
    summary = summarise_reliance({0: found, 1: found}, resamples=200)
    auroc = summary[summary["measure"] == "auroc"].set_index(["region", "fill", "comparison"])
    assert auroc.loc[("", "", "unchanged"), "mean"] > 0.95
    assert auroc.loc[("mouth", "black", "covered"), "mean"] < -0.3
    assert auroc.loc[("mouth", "black", "excess"), "high"] < 0
    assert auroc.loc[("eyes", "black", "covered"), "mean"] == 0
    assert auroc.loc[("eyes", "black", "excess"), "low"] >= 0  # boxes at random places hit the mouth
    falls = summary[summary["measure"] == "fake_probability"].set_index(["region", "fill", "comparison"])
    whole, covered = found["", "", ""], found["mouth", "landmarks", "black"]
    fakes = whole["label"] == 1
    wanted = (covered["fake_probability"] - whole["fake_probability"])[fakes].mean()
    assert falls.loc[("mouth", "black", "covered"), "mean"] == pytest.approx(wanted)
    table = reliance_table("planted", summary)
    assert [row[0] for row in table.rows][:2] == ["eyes, black", "eyes, mean"]
    assert all(len(row) == len(table.header) for row in table.rows)


def test_random_places_keep_number_and_size_of_the_boxes(faces):
    rows = np.arange(6)
    found = {tuple(key): table for *key, table in occlude(Stage(faces), rows, MASKS, ("black",), seed=1)}
    assert ("eyes", RANDOM, "black") in found
    (plain,) = batches(MouthDetector(), faces, rows)
    np.testing.assert_array_equal(plain.landmarks[0].ravel(), tiny_run.LANDMARKS)
    covered = {}
    for place in ("landmarks", "random"):
        mask = dataclasses.replace(MASKS["mouth"], place=place, fill="mean")
        (masked,) = batches(MouthDetector(), faces, rows, mask, seed=1)
        covered[place] = (plain.pixels != masked.pixels).any(axis=3)
    assert covered["landmarks"][:, 25, 16].all()
    assert not covered["landmarks"][:, :15].any()
    sizes = {place: each.sum(axis=(1, 2)) for place, each in covered.items()}
    np.testing.assert_allclose(sizes["random"], sizes["landmarks"], rtol=0.2)  # where they fall between pixels
    assert len({each.tobytes() for each in covered["random"]}) == len(rows)


def test_predictions_are_in_the_order_of_the_rows(faces):
    rows = np.array([5, 2, 9])
    predictions = predict_faces(MouthDetector(), faces, rows)
    assert predictions["sample_id"].tolist() == faces.manifest["sample_id"].iloc[rows].tolist()
    assert predictions["label"].tolist() == [1, 0, 1]


class Patch(nn.Module):
    """P(fake) is high if the upper left eighth is bright."""

    def forward(self, image):
        fake = 10 * (image[:, :, :4, :4].mean(dim=(1, 2, 3)) - 0.5)
        return torch.stack([-fake, fake], dim=1)


def test_deletion_and_insertion_prefer_the_map_of_what_is_used():
    image = torch.zeros(2, 3, 32, 32)
    image[:, :, :4, :4] = 1
    good = np.zeros((2, 32, 32), np.float32)
    good[:, :4, :4] = 1
    classes = torch.tensor([1, 1])
    curves = {
        (name, insertion): deletion_curve(Patch(), image, maps, classes, insertion)
        for name, maps in (("good", good), ("bad", 1 - good), ("random", random_maps((2, 32, 32), 0)))
        for insertion in (False, True)
    }
    assert all(curve.shape == (2, STEPS + 1) for curve in curves.values())
    assert (curves["good", False][:, 0] > 0.99).all()
    assert (curves["good", False][:, 1:] < 0.2).all()  # the blurred copy is grey, not black
    assert (curves["bad", False][:, :-1] > 0.99).all()
    assert (curves["good", True][:, 1:] > 0.99).all()
    areas = {key: curve.mean() for key, curve in curves.items()}
    assert areas["good", False] < areas["random", False] < areas["bad", False]
    assert areas["good", True] > areas["random", True] > areas["bad", True]


def test_permuted_weights_keep_their_values_and_lose_their_order():
    model = nn.Linear(6, 5)
    changed = randomised(model, seed=1)
    assert not torch.equal(changed.weight, model.weight)
    torch.testing.assert_close(changed.weight.flatten().sort().values, model.weight.flatten().sort().values)


def test_rank_correlation_of_maps():
    random = np.random.default_rng(0)
    maps = random.random((3, 8, 8))
    others = np.stack([maps[0] ** 3, -maps[1], np.zeros((8, 8))])
    np.testing.assert_allclose(rank_correlation(maps, others)[:2], [1, -1])
    assert np.isnan(rank_correlation(maps, others)[2])


def test_agreement_with_a_true_region():
    truth = np.zeros((3, 4, 4), bool)
    truth[:2, :2] = True
    maps = np.zeros((3, 4, 4))
    maps[0, :2] = 1
    maps[1, 2:] = 1
    np.testing.assert_array_equal(pointing_hits(maps, truth), [1, 0, np.nan])
    np.testing.assert_array_equal(localisation_auc(maps, truth), [1, 0, np.nan])
    tied, empty = np.zeros((2, 1, 4, 4))
    tied[0, 1:3] = 1
    assert pointing_hits(tied, truth[:1]) == 0.5
    assert np.isnan(pointing_hits(empty, truth[:1]))


def test_means_are_clustered_by_video():
    video = np.repeat(np.arange(20), 5)
    table = pd.DataFrame({"video_id": video, "x": (video % 2).astype(float)})
    found = clustered_mean({0: table, 1: table.assign(x=table["x"] + 1)}, "x", resamples=4000)
    assert found["mean"] == 1.0
    assert found["sd"] == pytest.approx(0.5**0.5)
    assert found["seeds_agreeing"] == 2
    # The standard error of a proportion of .5 over 20 videos is .11; over 100 independent faces it would be .05.
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * 0.5 / 20**0.5, rel=0.15)
    with_gaps = table.assign(x=table["x"].where(table.index % 5 > 0))
    assert clustered_mean({0: with_gaps}, "x")["mean"] == 0.5
    assert clustered_mean({0: with_gaps}, "x")["faces"] == 80
    single = clustered_mean({0: table.assign(x=table["x"].where(video == 3))}, "x")
    assert single["mean"] == 1
    assert np.isnan(single["low"])
    nothing = clustered_mean({0: table.assign(x=np.nan)}, "x")
    assert np.isnan(nothing["mean"])
    assert nothing["faces"] == 0


def test_differences_of_shares_are_paired_by_face():
    faces = pd.DataFrame({"sample_id": list("abcdef"), "video_id": list("uuvvww"), "label": 0, "view": "image"})
    tables = []
    for shift in (0.0, 0.1):
        values = np.arange(6) / 10 + shift * np.array([1, -1, 1, 1, 1, 1])
        one = pd.concat(
            [faces.assign(region=region, share=values, area=0.2, density=values / 0.2) for region in REGIONS]
        )
        tables.append(one.sample(frac=1, random_state=int(10 * shift)))
    tables[1].loc[(tables[1]["sample_id"] == "f"), ["share", "density"]] = np.nan  # an empty map
    found = summarise_shares({"one": {0: tables[0]}, "other": {0: tables[1]}}, resamples=200)
    difference = found[(found["minus"] == "one") & (found["measure"] == "share")].set_index("region").loc["eyes"]
    assert difference["mean"] == pytest.approx((4 * 0.1 - 0.1) / 5)
    assert difference["faces"] == 5
    assert difference["low"] < difference["mean"] <= difference["high"]
    lone = summarise_shares({"one": {0: tables[0]}, "other": {0: tables[1].assign(view="ed image")}}, resamples=100)
    assert set(lone["minus"]) == {""}
