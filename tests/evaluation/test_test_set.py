"""Test sets: which faces they have, and what a perturbation does to them."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from deepfake_ms.composition import CONFIG_FOLDER, compose
from deepfake_ms.data.loaders import evaluation_loader
from deepfake_ms.errors import UserError
from deepfake_ms.evaluation.test_set import TestSet

PERTURBATIONS = {path.stem for path in (CONFIG_FOLDER / "perturbation").glob("*.yaml")} - {"none"}
NOISE = {"name": "noise", "level": 1, "levels": [{"GaussNoise": {"std_range": [0.2, 0.2], "p": 1}}]}
BLOCKWISE = "deeperforensics_blockwise"


def perturbation_of(name: str, *overrides: str) -> dict:
    cfg = compose(f"perturbation={name}", "run=somewhere", *overrides, config_name="evaluate")
    return OmegaConf.to_container(cfg.perturbation)


def images(test_set: TestSet, num_workers: int = 0) -> torch.Tensor:
    loader = evaluation_loader(test_set.dataset(48), 4, num_workers)
    return torch.cat([batch["image"] for batch in loader])


@pytest.mark.parametrize("name", sorted(PERTURBATIONS - {BLOCKWISE}))
def test_a_perturbation_changes_the_pixels_and_always_in_the_same_way(run, name):
    plain, perturbed = TestSet.of_run(run, "test"), TestSet.of_run(run, "test", perturbation_of(name))
    assert (plain.name, perturbed.name) == ("test", f"test_{name}_3")
    assert np.array_equal(plain.rows, perturbed.rows)
    before, after = images(plain), images(perturbed)
    assert (before != after).flatten(1).any(dim=1).all()
    difference = (before.float() - after.float()).abs().mean()
    assert 2 < difference < 80  # grey levels
    assert torch.equal(images(perturbed), after)
    assert torch.equal(images(TestSet.of_run(run, "test", perturbation_of(name)), num_workers=2), after)


def test_noise_is_each_faces_own(run):
    noisy = TestSet.of_run(run, "test", perturbation_of("gaussian_noise"))
    noise = images(noisy).int() - images(TestSet.of_run(run, "test")).int()
    assert len({each.numpy().tobytes() for each in noise}) == len(noise)


def test_strengths_can_be_overridden(run):
    weak, strong = (
        TestSet.of_run(
            run,
            "test",
            perturbation_of(
                "jpeg",
                f"perturbation.levels=[{{ImageCompression: {{quality_range: [{quality}, {quality}], p: 1}}}}]",
                "perturbation.level=1",
            ),
        )
        for quality in (95, 10)
    )
    plain = images(TestSet.of_run(run, "test")).float()
    loss = [(images(each).float() - plain).abs().mean() for each in (weak, strong)]
    assert loss[1] > 1.5 * loss[0]


@pytest.mark.parametrize("subset", ["test", "validation"])
def test_without_a_perturbation_the_faces_are_as_they_are(run, subset):
    test_set = TestSet.of_run(run, subset, perturbation_of("none"))
    assert test_set.name == subset
    assert test_set.perturbation is None
    assert test_set.is_validation == (subset == "validation")
    assert np.array_equal(test_set.rows, np.flatnonzero(run.split["subset"] == subset))
    assert torch.equal(images(test_set), images(TestSet.of_run(run, subset)))
    assert not TestSet.of_run(run, subset, perturbation_of("jpeg")).is_validation


@pytest.mark.parametrize("subset", ["train", "unused", "Test", ""])
def test_an_unknown_test_set_is_refused_with_a_sentence(run, subset):
    with pytest.raises(UserError, match=rf"^test_set={subset} is unknown; choose from test, validation\.$"):
        TestSet.of_run(run, subset)


@pytest.mark.parametrize(
    ("transforms", "sentence"),
    [
        ({"GaussBlur": {}}, "no transform GaussBlur; the nearest name is "),
        ({"GaussianBlur": {"sigma": 2}}, "GaussianBlur has no argument sigma"),
        ({"ImageCompression": {"quality_range": [40, 400]}}, "ImageCompression rejects"),
    ],
)
def test_a_wrong_perturbation_is_refused_at_once(run, transforms, sentence):
    with pytest.raises(UserError, match=sentence):
        TestSet.of_run(run, "test", {"name": "mine", "level": 1, "levels": [transforms]})


@pytest.mark.parametrize("level", [0, 6, "3", 2.0, True, None])
def test_an_unknown_level_is_refused_with_a_sentence(run, level):
    with pytest.raises(UserError, match=rf"^perturbation\.level={level}: jpeg has the levels 1 \(mildest\) to 5\.$"):
        TestSet.of_run(run, "test", perturbation_of("jpeg") | {"level": level})
    with pytest.raises(
        UserError, match=r"^perturbation\.level=2: none has no levels; choose a type with perturbation="
    ):
        TestSet.of_run(run, "test", perturbation_of("none", "perturbation.level=2"))


# --- what it changes


def test_the_change_is_measured_on_the_faces_that_are_scored(run):
    plain, noisy = TestSet.of_run(run, "test"), TestSet.of_run(run, "test", perturbation_of("gaussian_noise"))
    change = noisy.measure_change(48)
    squares = (images(plain).double() - images(noisy)).square().flatten(1).mean(dim=1)
    assert change.mean_psnr == pytest.approx((10 * torch.log10(255**2 / squares)).mean().item(), abs=1e-4)
    assert (change.share_changed, change.images) == (1, len(plain.rows))


def test_at_most_200_faces_are_measured(run):
    many = TestSet("test_noise_1", run.faces, np.arange(400) % 47, TestSet.of_run(run, "test", NOISE).perturbation)
    assert many.measure_change(16).images == 200


def test_a_perturbation_that_changes_some_faces_says_how_many(run):
    sometimes = {"name": "noise", "level": 1, "levels": [{"GaussNoise": {"std_range": [0.2, 0.2], "p": 0.5}}]}
    test_set = TestSet("test_noise_1", run.faces, np.arange(47), TestSet.of_run(run, "test", sometimes).perturbation)
    change = test_set.measure_change(32)
    always = TestSet("test_noise_1", run.faces, np.arange(47), TestSet.of_run(run, "test", NOISE).perturbation)
    assert 0.3 < change.share_changed < 0.7
    assert change.mean_psnr == pytest.approx(always.measure_change(32).mean_psnr, abs=0.3)  # of the changed faces


def test_a_perturbation_that_changes_nothing_is_refused(run):
    blocks = TestSet.of_run(run, "test", perturbation_of(BLOCKWISE))
    with pytest.raises(UserError, match=rf"^perturbation={BLOCKWISE} at level 3 changes no face at 48 pixels: .*\.$"):
        blocks.measure_change(48)
    assert blocks.measure_change(256).share_changed == 1
