"""Attribution maps: how much each pixel contributes to a detector's decision, by several methods.

The explained value is the log-odds of a class, logit(class) - logit(other class). Maps are non-negative: Grad-CAM,
Grad-CAM++ and LIME show evidence for the class, not against it. Eigen-CAM and attention rollout do not depend on the
class: they show what stands out in the features and where attention flows.
"""

from collections.abc import Callable

import cv2
import numpy as np
import torch
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr import Lime
from pytorch_grad_cam import EigenCAM, GradCAM, GradCAMPlusPlus
from pytorch_grad_cam.base_cam import BaseCAM
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection_with_sign_correction
from torch import Tensor, nn

from deepfake_ms.errors import UserError
from deepfake_ms.explanation import METHODS
from deepfake_ms.explanation.rollout import attention_rollout
from deepfake_ms.explanation.views import View
from deepfake_ms.labels import FAKE, REAL


class SignedEigenCAM(EigenCAM):
    """Eigen-CAM with a defined sign: SVD leaves that of a principal component open.

    The value of the largest magnitude is positive, as in Seg-Eigen-CAM (Chung and Ying 2025).
    """

    def get_cam_image(self, input_tensor, target_layer, targets, activations, grads, eigen_smooth=False) -> np.ndarray:
        """The projection of the activations [B, C, h, w] on their first principal component, [B, h, w]."""
        return get_2d_projection_with_sign_correction(activations)


CAMS: dict[str, type[BaseCAM]] = {
    "gradcam": GradCAM,
    "gradcam_plus_plus": GradCAMPlusPlus,
    "eigencam": SignedEigenCAM,
}
CLASS_FREE = ("eigencam", "rollout")
"""Methods whose maps do not depend on the class."""
LIME_CELLS = 8
"""LIME removes cells of a grid with this many rows and columns."""
LIME_SAMPLES = 150
"""Perturbed copies of each face."""


def log_odds(logits: Tensor, classes: Tensor) -> Tensor:
    """logit(class) - logit(other class), [B]; `logits` [B, 2], `classes` int [B]."""
    fake = logits[:, FAKE] - logits[:, REAL]
    return torch.where(classes == FAKE, fake, -fake)


def attribute(view: View, image: Tensor, classes: Tensor, method: str, seed: int = 0) -> np.ndarray:
    """Attribution maps of a batch of faces.

    Args:
        view: from `views_of`.
        image: normalised, [B, 3, S, S], on the device of the network.
        classes: the class whose log-odds are explained, int [B].
        method: one of `METHODS`.
        seed: of LIME's perturbations.

    Returns:
        float32 [B, S, S], each map divided by its maximum; all zero if nothing speaks for the class.

    Raises:
        UserError: the method is unknown, or the view has no transformer for ``rollout``.
    """
    if method in CAMS:
        maps = _cam(CAMS[method], view, image, classes)
    elif method == "rollout":
        if view.transformer is None:
            raise UserError(
                "method=rollout needs a Vision Transformer or Swin over the image, and this model has none: choose "
                f"another method, of {', '.join(name for name in METHODS if name != method)}."
            )
        maps = attention_rollout(view.network, view.transformer, image)[:, None]
        maps = nn.functional.interpolate(maps, size=image.shape[2:], mode="bilinear")[:, 0].cpu().numpy()
    elif method == "lime":
        maps = _lime(view.network, image, classes, seed)
    else:
        raise UserError(f"method={method} is unknown; choose from {', '.join(METHODS)}.")
    highest = maps.max(axis=(1, 2), keepdims=True)
    return (maps / np.where(highest > 0, highest, 1)).astype(np.float32)


def _cam(cam: type[BaseCAM], view: View, image: Tensor, classes: Tensor) -> np.ndarray:
    """Class activation maps [B, S, S], not scaled: pytorch-grad-cam's own call subtracts each map's minimum."""
    frozen = [(each, each.requires_grad) for each in view.network.parameters()]
    explained = cam(view.network, [view.layer], reshape_transform=view.to_map)
    try:
        # Gradients of parameters are not needed; those of the feature map begin at the image.
        for parameter, _ in frozen:
            parameter.requires_grad_(False)
        logits = explained.activations_and_grads(image.detach().requires_grad_(explained.uses_gradients))
        gradients = None
        if explained.uses_gradients:
            log_odds(logits, classes).sum().backward()
            gradients = explained.activations_and_grads.gradients[0].numpy()
        activations = explained.activations_and_grads.activations[0].numpy()
        heat = explained.get_cam_image(image, view.layer, None, activations, gradients)
    finally:
        explained.activations_and_grads.release()
        for parameter, needed in frozen:
            parameter.requires_grad_(needed)
    positive = np.maximum(heat, 0).astype(np.float32)
    return np.stack([cv2.resize(each, tuple(image.shape[:1:-1])) for each in positive])


def _lime(network: nn.Module, image: Tensor, classes: Tensor, seed: int) -> np.ndarray:
    cell = torch.arange(image.shape[2], device=image.device) * LIME_CELLS // image.shape[2]
    cells = (cell[:, None] * LIME_CELLS + cell)[None, None]
    maps = []
    with torch.random.fork_rng(devices=[image.device] if image.device.type == "cuda" else []):
        torch.manual_seed(seed)
        for face, label in zip(image.split(1), classes.split(1), strict=True):
            # captum's default, a lasso, is zero everywhere where the log-odds change little.
            explained = Lime(_log_odds_of(network, label), interpretable_model=SkLearnRidge(alpha=1.0))
            weights = explained.attribute(
                face,
                baselines=face.mean(dim=(2, 3), keepdim=True),
                feature_mask=cells,
                n_samples=LIME_SAMPLES,
                perturbations_per_eval=25,
            )
            maps.append(weights[0, 0].clamp(min=0).detach().cpu().numpy())
    return np.stack(maps)


def _log_odds_of(network: nn.Module, label: Tensor) -> Callable[[Tensor], Tensor]:
    @torch.no_grad()
    def function(image: Tensor) -> Tensor:
        return log_odds(network(image), label.expand(len(image)))

    return function
