import pytest
import torch

from deepfake_ms.errors import UserError
from deepfake_ms.labels import FAKE, REAL
from deepfake_ms.training.losses import weighted_cross_entropy


def test_a_mistake_on_a_fake_counts_by_its_weight():
    loss = weighted_cross_entropy({"fake": 1.85, "real": 1.0})  # the order of the names must not matter
    logits = torch.zeros(2, 2, requires_grad=True)
    loss(logits, torch.tensor([REAL, FAKE])).backward()
    by_class = logits.grad.abs().sum(dim=1)
    assert (by_class[FAKE] / by_class[REAL]).item() == pytest.approx(1.85)


@pytest.mark.parametrize("weights", [{"real": 1.0}, {"real": 1.0, "fak": 2.0}, {"real": 1.0, "fake": 0.0}])
def test_weights_that_make_no_sense_are_refused(weights):
    with pytest.raises(UserError, match="class_weights"):
        weighted_cross_entropy(weights)
