import pytest

from deepfake_ms.errors import UserError
from deepfake_ms.training.curriculum import Curriculum, Stage

MEP = [
    {"faces": "masked_eyes", "share": 0.4},
    {"faces": "cropped", "share": 0.3},
    {"faces": "masked_eyes", "share": 0.3},
]


def curriculum(stages, epochs=50, carry="best", mode="max"):
    return Curriculum.from_shares(stages, epochs, carry, "validation/accuracy", mode)


def test_the_papers_epochs_come_out_of_the_shares():
    assert curriculum(MEP).stages == (
        Stage("1_masked_eyes", "masked_eyes", 20),
        Stage("2_cropped", "cropped", 15),
        Stage("3_masked_eyes", "masked_eyes", 15),
    )


def test_no_stage_is_rounded_away():
    assert [stage.epochs for stage in curriculum(MEP, epochs=1).stages] == [1, 1, 1]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"stages": []}, "stages"),
        ({"stages": MEP[:2]}, "add up"),
        ({"stages": [{"faces": "masked", "share": 1.0}]}, "masked_eyes"),
        ({"stages": MEP, "carry": "worst"}, "carry"),
        ({"stages": MEP, "mode": "up"}, "mode"),
    ],
)
def test_mistakes_are_named(arguments, named):
    with pytest.raises(UserError, match=named):
        curriculum(**arguments)
