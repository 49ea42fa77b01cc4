"""The faces that a stage of a run trains and validates on, and those of its test set."""

import numpy as np
import pytest
import tiny_run
import torch
from formulas import SIZE, augmentation_settings

from deepfake_ms.data.face_pairs import NO_PARTNER
from deepfake_ms.data.prepared_faces import PreparedFaces
from deepfake_ms.data.splits import SplitPolicy, split_manifest
from deepfake_ms.evaluation.test_set import TestSet
from deepfake_ms.training.run import Run


@pytest.fixture
def run_with(manifest, prepared, tmp_path):
    def run_with(policy: str = "identity", **changes) -> Run:
        split = manifest[["sample_id"]].assign(subset=split_manifest(manifest, SplitPolicy(policy)))
        split["balanced"] = (split["subset"] == "train") & (split.index % 5 > 0)
        config = tiny_run.config({"model.input_size": SIZE, **changes})
        return Run(tmp_path / "run", {"config": config}, PreparedFaces(prepared, {}, manifest), split)

    return run_with


def data_of(run: Run, stage: int):
    return run.stage_data(run.curriculum.stages[stage], run.detector(run.curriculum.stages[stage]), num_workers=0)


def images(faces) -> torch.Tensor:
    return faces.batch(list(range(len(faces))))["image"]


def masked(image: torch.Tensor) -> bool:
    return (image == 0).all(dim=0).float().mean().item() > 0.05  # the drawn faces have no black pixels


@pytest.mark.parametrize(("stage", "is_masked"), [(0, True), (1, False), (2, True)])
def test_only_training_faces_are_masked_and_augmented(run_with, stage, is_masked):
    run = run_with()
    data = data_of(run, stage)
    assert np.array_equal(data.training.rows, np.flatnonzero(run.split["balanced"]))
    assert {masked(image) for image in images(data.training)} == {is_masked}
    plain = run_with(augmentation=augmentation_settings("augmentation=none") | {"transforms": {}})
    unflipped = data_of(plain, stage)
    assert not torch.equal(images(data.training), images(unflipped.training))
    test = TestSet.of_run(run, "test").dataset(SIZE)
    for faces, subset in ((data.validation, "validation"), (test, "test")):
        assert np.array_equal(faces.rows, np.flatnonzero(run.split["subset"] == subset))
        assert not any(masked(image) for image in images(faces))
    assert torch.equal(images(data.validation), images(unflipped.validation))


def test_stages_have_their_own_seeds_and_batches(run_with):
    run = run_with()
    first, third = data_of(run, 0), data_of(run, 2)
    assert (first.training.stage, third.training.stage) == ("1_masked_eyes", "3_masked_eyes")
    assert not torch.equal(images(first.training), images(third.training))
    assert first.batch_size == run.curriculum.stages[0].batch_size


def test_the_facial_swap_uses_training_faces_only_and_says_how_many(run_with):
    settings = augmentation_settings("augmentation=facial_swap")
    transforms = {each["transform"]: {"p": each["p"]} for each in settings["transforms"]}
    # With this policy the source of a training fake may be in another subset.
    run = run_with("video", augmentation=settings | {"transforms": transforms})
    data = data_of(run, 0)
    partners = data.training.partners
    has_partner = partners != NO_PARTNER
    fakes = int((data.training.labels == 1).sum())
    assert 0 < has_partner.sum() < fakes
    assert data.training.describe_swaps() == f"Facial swap: {has_partner.sum()} of {fakes} fakes have a source."
    assert (run.split["subset"].to_numpy()[partners[has_partner]] == "train").all()
    assert set(data.training[0]) == {"image", "label", "index", "artifact_box"}
    assert set(data.validation[0]) == {"image", "label", "index"}
    assert data_of(run_with(), 0).training.partners is None


def test_a_masked_stage_can_mask_something_else(run_with):
    run = run_with(
        **{
            "curriculum.stages": [
                {"faces": "masked", "share": 0.5},
                {"faces": "masked", "share": 0.5, "mask": {"regions": {"mouth": {"width": 1.0, "height": 0.5}}}},
            ],
            "mask": tiny_run.EYES | {"regions": {"nose": {"width": 1.0, "height": 0.5}}, "fill": "black"},
        }
    )
    regions = [data_of(run, stage).training.mask.regions.keys() for stage in (0, 1)]
    assert regions == [{"nose"}, {"nose", "mouth"}]  # single values are merged into the run's
