"""Training losses, weighted by class name."""

import torch
from torch import nn

from deepfake_ms.errors import UserError
from deepfake_ms.labels import CLASS_NAMES


def weighted_cross_entropy(class_weights: dict[str, float]) -> nn.CrossEntropyLoss:
    """Cross-entropy over logits [B, 2] (real, fake) with one weight per class name.

    The paper's WL (section 2.5) is ``{"real": 1.0, "fake": 1.85}``. As usual in torch, the weighted sum over a batch is
    divided by the sum of the weights.

    Raises:
        UserError: a class is missing or unknown, or a weight is not positive.
    """
    if set(class_weights) != set(CLASS_NAMES):
        raise UserError(f"loss.class_weights names {sorted(class_weights)}: it needs {' and '.join(CLASS_NAMES)}.")
    if bad := [name for name, weight in class_weights.items() if not 0 < weight < float("inf")]:
        raise UserError(f"loss.class_weights.{bad[0]}={class_weights[bad[0]]}: give a positive number.")
    loss = nn.CrossEntropyLoss()
    weight = torch.tensor([float(class_weights[name]) for name in CLASS_NAMES])
    # Not in the state dict, because each stage has its own loss.
    loss.register_buffer("weight", weight, persistent=False)
    return loss
