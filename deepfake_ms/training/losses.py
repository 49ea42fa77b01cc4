"""Training losses, weighted by class name."""

import torch
from torch import nn

from deepfake_ms.errors import UserError
from deepfake_ms.labels import CLASS_NAMES


def weighted_cross_entropy(class_weights: dict[str, float]) -> nn.CrossEntropyLoss:
    """Cross-entropy over logits [B, 2] (real, fake) in which each class weighs by its name.

    The paper's WL (section 2.5) is ``{"real": 1.0, "fake": 1.85}``. As usual in torch, the batch mean is divided by the
    sum of its weights, so the step size does not grow with them.

    Raises:
        UserError: a class is missing or unknown, or a weight is not positive.
    """
    if set(class_weights) != set(CLASS_NAMES):
        raise UserError(f"loss.class_weights names {sorted(class_weights)}: it needs {' and '.join(CLASS_NAMES)}.")
    if bad := [name for name, weight in class_weights.items() if not 0 < weight < float("inf")]:
        raise UserError(f"loss.class_weights.{bad[0]}={class_weights[bad[0]]}: a weight is a positive number.")
    loss = nn.CrossEntropyLoss()
    weight = torch.tensor([float(class_weights[name]) for name in CLASS_NAMES])
    # Not in the state dict: a stage that loads the weights of the one before has its own loss.
    loss.register_buffer("weight", weight, persistent=False)
    return loss
