"""Is an attribution faithful? Deletion and insertion, randomised weights, and agreement with a known artefact."""

import copy

import cv2
import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from deepfake_ms.models.base import DetectionModel
from deepfake_ms.randomness import key

STEPS = 10
"""Steps of a deletion or insertion curve."""


@torch.no_grad()
def deletion_curve(
    network: nn.Module, image: Tensor, maps: np.ndarray, classes: Tensor, insertion: bool = False
) -> np.ndarray:
    """P(class) while the pixels with the highest attribution are replaced by a blurred copy of the face.

    Petsiuk et al., *RISE* (BMVC 2018). For a faithful attribution, P(class) falls early in deletion and rises early in
    insertion, which begins with the blurred face and brings the pixels back.

    Args:
        network: maps normalised images to logits [B, 2].
        image: normalised, [B, 3, S, S].
        maps: attribution, [B, S, S].
        classes: the attributed class, int [B].
        insertion: insertion instead of deletion.

    Returns:
        float [B, STEPS + 1], the first value before any change. Its mean over the steps is the curve's area.
    """
    blurred = _blurred(image)
    # Rank of each pixel by attribution, the highest first; ties in the order of the image.
    order = np.argsort(np.argsort(-maps.reshape(len(maps), -1), axis=1, kind="stable"), axis=1, kind="stable")
    ranks = torch.from_numpy(order.reshape(maps.shape)).to(image.device)[:, None]
    start, end = (blurred, image) if insertion else (image, blurred)
    values = []
    for step in range(STEPS + 1):
        changed = torch.where(ranks < round(step / STEPS * maps[0].size), end, start)
        probability = network(changed).softmax(dim=1).gather(1, classes[:, None])[:, 0]
        values.append(probability.cpu().numpy())
    return np.stack(values, axis=1)


def random_maps(shape: tuple[int, int, int], seed: int, cells: int = 8) -> np.ndarray:
    """Random smooth maps as a baseline for the curves, float32 [B, S, S]."""
    random = np.random.default_rng(key("random attribution", seed))
    coarse = random.random((shape[0], cells, cells), dtype=np.float32)
    return np.stack([cv2.resize(each, shape[:0:-1], interpolation=cv2.INTER_CUBIC) for each in coarse])


def randomised(model: DetectionModel, seed: int = 0) -> DetectionModel:
    """A copy of a detector in which the values of every parameter, trained or frozen, are permuted.

    For the sanity check of Adebayo et al. (*Sanity Checks for Saliency Maps*, NeurIPS 2018): the attributions of the
    copy must differ from those of the original.
    """
    changed = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(key("randomised weights", seed))
    with torch.no_grad():
        for values in changed.parameters():
            order = torch.randperm(values.numel(), generator=generator).to(values.device)
            values.copy_(values.flatten()[order].view_as(values))
    return changed


def rank_correlation(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Spearman's correlation of the pixels of two maps per face, float [B]; NaN if a map is constant."""
    constant = (np.ptp(maps, axis=(1, 2)) == 0) | (np.ptp(others, axis=(1, 2)) == 0)
    pairs = zip(maps, others, constant, strict=True)
    return np.array([np.nan if skip else spearmanr(a.ravel(), b.ravel()).statistic for a, b, skip in pairs])


def pointing_hits(maps: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Pointing game: whether the highest pixel of a map lies in the true region; the share of them if several tie.

    Args:
        maps: attribution, [B, S, S].
        truth: bool [B, S, S].

    Returns:
        float [B]; NaN where the true region or the map is empty. By chance, the mean is the region's share of the crop.
    """
    is_highest = maps == maps.max(axis=(1, 2), keepdims=True)
    hits = (is_highest & truth).sum(axis=(1, 2)) / is_highest.sum(axis=(1, 2))
    return np.where(truth.any(axis=(1, 2)) & maps.any(axis=(1, 2)), hits, np.nan)


def localisation_auc(maps: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of a map as a score for the pixels of the true region, float [B]; .5 by chance.

    NaN where the region is empty or the whole crop.
    """
    pairs = zip(maps.reshape(len(maps), -1), truth.reshape(len(truth), -1), strict=True)
    return np.array([roc_auc_score(inside, values) if 0 < inside.mean() < 1 else np.nan for values, inside in pairs])


def _blurred(image: Tensor) -> Tensor:
    """The images without details: a Gaussian blur with a standard deviation of a tenth of the side."""
    faces = image.permute(0, 2, 3, 1).cpu().numpy()
    smooth = [cv2.GaussianBlur(face, (0, 0), image.shape[2] / 10) for face in faces]
    return torch.from_numpy(np.stack(smooth)).permute(0, 3, 1, 2).to(image)
