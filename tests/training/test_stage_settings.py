"""What a stage overrides takes effect in its training, is recorded, and makes another stage of it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny_run
import torch
from tiny_run import VIT, assert_same_weights, interrupt, weights_of

from deepfake_ms.errors import UserError
from deepfake_ms.training.run_folder import read_record
from deepfake_ms.training.shared_stages import hash_stages

NONE = {"name": "none", "transforms": {}}
OTHER = {
    "name": "other",
    "optimizer": {"name": "lamb"},
    "schedule": {"name": "StepLR", "step_size": 1},
    "batch_size": 4,
}
MOUTH = {"name": "mouth", "regions": {"mouth": {"width": 0.5, "height": 0.25}}}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    return tiny_run.write_faces(tmp_path_factory.mktemp("prepared") / "tiny")


@pytest.fixture(scope="module")
def plain(tmp_path_factory, prepared) -> Path:
    """A run without overrides."""
    run = tmp_path_factory.mktemp("plain") / "run"
    tiny_run.train(run, prepared, VIT)
    return run


@pytest.mark.parametrize(
    ("stage", "override", "value"),
    [
        (1, "augmentation", NONE),
        (1, "augmentation.transforms.HorizontalFlip.p", 1.0),
        (1, "loss.class_weights.fake", 5.0),
        (1, "optimization.optimizer.lr", 0.01),
        (1, "optimization", OTHER),
        (1, "optimization.schedule.pct_start", 0.6),
        (1, "optimization.batch_size", 8),
        (1, "optimization.gradient_clip", {"norm": 0.01}),
        (1, "freeze", ["backbone.blocks"]),
        (2, "mask", MOUTH),
        (2, "mask.regions.eyes.width", 0.3),
    ],
)
def test_an_override_changes_its_stage_and_none_before(plain, prepared, tmp_path, stage, override, value):
    key = f"curriculum.stages.{stage}.{override}"
    tiny_run.train(tmp_path / "run", prepared, VIT | {key: value})
    ours, theirs = weights_of(tmp_path / "run"), weights_of(plain)
    same = [all(torch.equal(one[name], two[name]) for name in two) for one, two in zip(ours, theirs, strict=True)]
    assert same == [number < stage for number in range(3)]
    records = [read_record(run) for run in (tmp_path / "run", plain)]
    assert records[0]["config_sha256"] != records[1]["config_sha256"]
    hashes = [hash_stages(record["config"], "code") for record in records]
    assert [one == two for one, two in zip(*hashes, strict=True)] == same


def test_the_record_has_every_stage_with_its_settings(prepared, tmp_path):
    changes = {
        "curriculum.stages.1.optimization.optimizer.lr": 0.01,
        "curriculum.stages.1.freeze": "backbone.blocks",
        "curriculum.stages.2.mask": MOUTH,
        "curriculum.stages.2.loss.class_weights.fake": 3.0,
    }
    first, second, third = tiny_run.make_run(tmp_path, prepared, VIT | changes).config["curriculum"]["stages"]
    assert [stage["name"] for stage in (first, second, third)] == ["1_masked_eyes", "2_cropped", "3_masked_mouth"]
    assert first["optimizer"] == {"name": "SGD", "lr": 0.05, "momentum": 0.9}
    assert second["optimizer"] == {"name": "SGD", "lr": 0.01, "momentum": 0.9}
    assert (first["freeze"], second["freeze"]) == ([], ["backbone.blocks"])
    assert (first["mask"]["name"], second["mask"], third["mask"]) == ("eyes", None, MOUTH)
    assert [stage["loss"]["class_weights"]["fake"] for stage in (first, second, third)] == [1.0, 1.0, 3.0]
    assert [stage["epochs"] for stage in (first, second, third)] == [2, 2, 2]


class Batches(tiny_run.Callback):
    """Per stage: the images that the model was trained on, as uint8 by row of the manifest, and the batch sizes."""

    def __init__(self):
        self.images, self.sizes = [], []

    def on_train_start(self, trainer, pl_module):
        self.images.append({})
        self.sizes.append([])

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        pixels = ((batch["image"] * pl_module.std + pl_module.mean) * 255).round().byte().numpy()
        self.images[-1] |= zip(batch["index"].tolist(), pixels.transpose(0, 2, 3, 1), strict=True)
        self.sizes[-1].append(len(pixels))


def test_a_stage_trains_on_faces_as_its_settings_say(prepared, tmp_path):
    batches = Batches()
    changes = {
        "curriculum.stages.1.augmentation": NONE,
        "curriculum.stages.1.optimization.batch_size": 12,
        "curriculum.stages.2.augmentation": NONE,
        "curriculum.stages.2.mask": MOUTH,
    }
    run = tiny_run.train(tmp_path / "run", prepared, VIT | changes, {"extra": (batches,)})
    assert batches.sizes == [[4] * 12, [12] * 4, [4] * 12]
    crops = run.stage_data(run.curriculum.stages[1], run.detector(run.curriculum.stages[1]), 0).training
    crop_of = {row: crops.pixels(position) for position, row in enumerate(crops.rows.tolist())}
    cropped, mouth_masked = batches.images[1:]
    for row, image in cropped.items():
        assert np.array_equal(image, crop_of[row])
    for row, image in mouth_masked.items():
        changed = (image != crop_of[row]).any(axis=2)
        assert changed[25, 13:20].all()  # between the corners of the mouth
        assert not changed[:22].any()  # eyes and nose
    flipped = [not np.array_equal(image[20:], crop_of[row][20:]) for row, image in batches.images[0].items()]
    assert any(flipped)
    assert not all(flipped)


@pytest.mark.parametrize("frozen", [["backbone"], "backbone.layer1", ["backbone.bn1", "embedder", "fc.weight"]])
def test_frozen_parts_stay_as_they_are_for_the_stage(prepared, tmp_path, frozen):
    """Weights, and BatchNorm statistics; what is not frozen learns, and in the next stage all of it."""
    tiny_run.train(tmp_path / "run", prepared, {"curriculum.stages.1.freeze": frozen})
    prefixes = tuple(f"model.{name}" for name in ([frozen] if isinstance(frozen, str) else frozen))
    first, second, third = weights_of(tmp_path / "run")
    # The table of relative positions in a window of one patch is not learnt: a softmax over one number is 1.
    learning = {name: each for name, each in first.items() if each.is_floating_point() and "position_bias" not in name}
    kept = [name for name in learning if name.startswith(prefixes)]
    assert any("running_mean" in name for name in kept)
    for name, before in learning.items():
        assert torch.equal(second[name], before) == (name in kept), name
        assert not torch.equal(third[name], second[name]), name


def test_frozen_modules_have_no_dropout(prepared, tmp_path):
    stage_of = tiny_run.make_run(tmp_path, prepared, {"curriculum.stages.1.freeze": "backbone.layer2"}).curriculum
    detector = tiny_run.make_run(tmp_path, prepared).detector(stage_of.stages[1])
    for _ in range(2):  # Lightning calls it again after each validation
        assert not any(module.training for module in detector.model.backbone.layer2.modules())
        assert detector.model.backbone.layer1.training
        detector.eval()
        detector.train()


@pytest.mark.parametrize("moments", [(8, 43), (38, 42, 6)])
def test_a_stage_with_frozen_parts_resumes_bit_for_bit(prepared, tmp_path, moments):
    freeze = {"curriculum.stages.0.freeze": ["backbone"], "curriculum.stages.1.freeze": ["embedder", "encoder"]}
    tiny_run.train(tmp_path / "undisturbed", prepared, freeze)
    for moment in moments:
        assert interrupt(tmp_path / "run", prepared, moment, freeze)
    tiny_run.train(tmp_path / "run", prepared, freeze)
    assert_same_weights(tmp_path / "run", tmp_path / "undisturbed")


@pytest.mark.parametrize(
    ("freeze", "sentence"),
    [
        (
            "backbone.layer9",
            "freeze: the model has no module or parameter backbone.layer9; the nearest are backbone.layer",
        ),
        ("backbone.laye", "no module or parameter backbone.laye"),
        (["encoder", "decoder", "backbone", "fc", "fc2", "embedder"], "leaves nothing to train"),
    ],
)
def test_a_wrong_name_in_the_last_stage_stops_the_run_before_the_first(prepared, tmp_path, freeze, sentence):
    with pytest.raises(UserError, match=sentence):
        tiny_run.train(tmp_path / "run", prepared, {"curriculum.stages.2.freeze": freeze})
    assert not (tmp_path / "run").exists()


LENGTH = VIT | tiny_run.ONE_STAGE | {"optimization.epochs": 5}


def rates(run: Path) -> list[float]:
    """The learning rate of the last step of each epoch."""
    return pd.read_csv(run / "metrics.csv")["learning_rate"].tolist()


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"name": "StepLR", "step_size": 2, "gamma": 0.1}, [0.1, 0.1, 0.01, 0.01, 0.001]),
        ({"name": "CosineAnnealingLR"}, [0.05 * (1 + np.cos(np.pi * epoch / 5)) for epoch in range(5)]),
        (
            {"name": "CosineAnnealingLR", "interval": "step"},
            [0.05 * (1 + np.cos(np.pi * (6 * epoch + 5) / 30)) for epoch in range(5)],
        ),
        (
            {"name": "cosine", "warmup_epochs": 2, "warmup_lr": 0.02, "min_lr": 0.01},
            [0.02, 0.06] + [0.01 + 0.045 * (1 + np.cos(np.pi * epoch / 5)) for epoch in (2, 3, 4)],
        ),
        # no loss reaches this threshold, so every validation lowers the rate
        (
            {"name": "ReduceLROnPlateau", "patience": 0, "threshold": 100, "factor": 0.5},
            [0.1, 0.05, 0.025, 0.0125, 0.00625],
        ),
    ],
    ids=lambda value: value["name"] + value.get("interval", "") if isinstance(value, dict) else "",
)
def test_each_epoch_has_its_rate_even_after_interruptions(prepared, tmp_path, schedule, expected):
    changes = LENGTH | {"optimization.optimizer.lr": 0.1, "optimization.schedule": schedule}
    tiny_run.train(tmp_path / "undisturbed", prepared, changes)
    assert rates(tmp_path / "undisturbed") == pytest.approx(expected)
    for moment in (18, 10, 18, 27):  # 18: the end of an epoch, right after its resume point is saved
        assert interrupt(tmp_path / "run", prepared, moment, changes)
    tiny_run.train(tmp_path / "run", prepared, changes)
    assert rates(tmp_path / "run") == rates(tmp_path / "undisturbed")
    assert_same_weights(tmp_path / "run", tmp_path / "undisturbed")


@pytest.mark.parametrize("optimizer", ["adopt", "lamb", "Adam"])
def test_an_optimizer_resumes_with_its_state(prepared, tmp_path, optimizer):
    changes = LENGTH | {"optimization.optimizer": {"name": optimizer, "lr": 0.01}}
    tiny_run.train(tmp_path / "undisturbed", prepared, changes)
    for moment in (10, 18, 27):
        assert interrupt(tmp_path / "run", prepared, moment, changes)
    tiny_run.train(tmp_path / "run", prepared, changes)
    assert_same_weights(tmp_path / "run", tmp_path / "undisturbed")


@pytest.mark.parametrize("clip", [{"norm": 0.05}, {"value": 0.002}])
def test_gradients_are_clipped(prepared, tmp_path, clip):
    """One step of plain SGD moves the weights by the clipped gradient."""
    one_step = {
        "optimization.optimizer": {"name": "SGD", "lr": 1.0},
        "optimization.schedule": {"name": "ConstantLR", "factor": 1.0},
        "optimization.batch_size": 25,
        "optimization.epochs": 1,
    }
    changes = VIT | tiny_run.ONE_STAGE | one_step
    run = tiny_run.train(tmp_path / "plain", prepared, changes)
    tiny_run.train(tmp_path / "clipped", prepared, changes | {"optimization.gradient_clip": clip})
    parameters = dict(run.detector(run.curriculum.stages[0]).named_parameters())
    step, clipped = (
        torch.cat([(weights_of(tmp_path / name)[0][key] - start.detach()).ravel() for key, start in parameters.items()])
        for name in ("plain", "clipped")
    )
    if "norm" in clip:
        assert step.norm() > 0.1
        torch.testing.assert_close(clipped, step * (0.05 / step.norm()), rtol=1e-3, atol=1e-6)
    else:
        assert step.abs().max() > 0.01
        torch.testing.assert_close(clipped, step.clamp(-0.002, 0.002), rtol=1e-3, atol=1e-6)
