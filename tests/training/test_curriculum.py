"""Stages: the settings of the run with what each stage overrides; the command line is in tests/test_cli.py."""

import copy

import pytest
import tiny_run

from deepfake_ms.errors import UserError
from deepfake_ms.training.curriculum import Curriculum


def resolve(stages, **changes) -> Curriculum:
    config = copy.deepcopy(tiny_run.CONFIG) | changes
    config["curriculum"] = config["curriculum"] | {"stages": stages}
    return Curriculum.resolve(config)


MEP = tiny_run.CONFIG["curriculum"]["stages"]


def test_the_stages_of_mep_have_the_names_masks_and_epochs_of_the_paper():
    optimization = tiny_run.CONFIG["optimization"] | {"epochs": 50}
    stages = resolve(MEP, optimization=optimization).stages
    assert [(stage.name, stage.title, stage.epochs, bool(stage.mask)) for stage in stages] == [
        ("1_masked_eyes", "masked_eyes", 20, True),
        ("2_cropped", "cropped", 15, False),
        ("3_masked_eyes", "masked_eyes", 15, True),
    ]


def test_a_curriculum_survives_its_record():
    curriculum = resolve(MEP)
    config = tiny_run.CONFIG | {"curriculum": tiny_run.CONFIG["curriculum"] | {"stages": curriculum.as_records()}}
    assert Curriculum.from_record(config) == curriculum


def test_an_override_changes_its_stage_only_and_leaves_the_other_settings():
    plain = resolve(MEP).stages
    changed = resolve([MEP[0], {**MEP[1], "optimization": {"optimizer": {"lr": 0.5}, "batch_size": 2}}, MEP[2]]).stages
    assert (changed[0], changed[2]) == (plain[0], plain[2])
    assert changed[1].optimizer == plain[1].optimizer | {"lr": 0.5}
    assert (changed[1].batch_size, changed[1].schedule) == (2, plain[1].schedule)


def test_another_choice_of_a_group_replaces_the_runs():
    choice = {"name": "sgd", "optimizer": {"name": "SGD", "lr": 0.1}, "schedule": {"name": "StepLR", "step_size": 1}}
    stage = resolve([{"faces": "cropped", "share": 1.0, "optimization": choice | {"batch_size": 8}}]).stages[0]
    assert stage.optimizer == {"name": "SGD", "lr": 0.1}  # nothing is left of AdamW's arguments


@pytest.mark.parametrize(
    ("stages", "sentence"),
    [
        ([], "stages is empty"),
        (MEP[:2], "shares add up to 0.7"),
        ([{"faces": "masked_eyes", "share": 1.0}], r"stages\.0\.faces=masked_eyes .*now faces: masked"),
        ([{"faces": "cropped"}], r"stages\.0\.share is missing"),
        ([{"faces": "cropped", "share": 1.0, "rate": 1}], r"stages\.0\.rate is unknown"),
        ([{"faces": "cropped", "share": 1.0, "augmentation": "none"}], "give the name of a file in conf/augmentation"),
        ([{"faces": "cropped", "share": 1.0, "optimization": {"monitor": "x"}}], "all stages share it"),
        ([{"faces": "cropped", "share": 1.0, "optimization": {"batch_size": 0}}], "batches of 0"),
    ],
)
def test_a_wrong_stage_is_one_sentence(stages, sentence):
    with pytest.raises(UserError, match=sentence):
        resolve(stages)


@pytest.mark.parametrize(("key", "value"), [("carry", "worst")])
def test_an_unknown_handoff_is_one_sentence(key, value):
    config = copy.deepcopy(tiny_run.CONFIG)
    config["curriculum"][key] = value
    with pytest.raises(UserError, match=f"curriculum.{key}={value} is unknown"):
        Curriculum.resolve(config)
