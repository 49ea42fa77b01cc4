"""Metrics of a detector's P(fake), per frame and per video. The positive class is fake.

A face or video is classified as fake if its P(fake) is above the threshold. All metrics are in 0..1; for error rates,
EER, Brier score and calibration error, lower is better.
"""

import math

import numpy as np
import pandas as pd
import torch
import torchmetrics.functional.classification as functional
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import BinaryAUROC, MulticlassAccuracy, MulticlassF1Score, MulticlassRecall
from torchmetrics.utilities import dim_zero_cat

from deepfake_ms.labels import CLASS_NAMES, FAKE, REAL

TITLES = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "auroc": "AUROC",
    "balanced_accuracy": "Balanced accuracy",
    "eer": "EER",
    "average_precision": "Average precision",
    "tpr_at_1_fpr": "TPR at 1 % FPR",
    "real_error": "Real classified as fake",
    "fake_error": "Fake classified as real",
    "calibration_error": "Expected calibration error",
    "brier": "Brier score",
}
"""Display names of the metrics, in the order of the tables. The first three are the metrics of the paper."""

DECISION_METRICS = ("accuracy", "macro_f1", "balanced_accuracy", "real_error", "fake_error")
"""The metrics that depend on the threshold."""

LEVELS = ("frame", "video")
THRESHOLD_CRITERION = "balanced_accuracy"
"""The metric that the threshold maximises on the validation set. Its optimal threshold does not depend on the share of
fakes, which differs between subsets and corpora; the optimal threshold of accuracy or macro F1 does."""

CALIBRATION_BINS = 15
LOW_FPR = 0.01


class ClassError(MulticlassRecall):
    """Error rate of one class in 0..1: one minus its recall."""

    def __init__(self, label: int, **options):
        super().__init__(num_classes=len(CLASS_NAMES), average=None, **options)
        self.label = label

    def compute(self) -> Tensor:
        return 1 - super().compute()[self.label]


class FakeAUROC(BinaryAUROC):
    """AUROC of P(fake), updated with class probabilities [N, 2] like the other metrics; NaN if a class is missing."""

    def update(self, preds: Tensor, target: Tensor) -> None:
        super().update(preds[:, FAKE], target)

    def compute(self) -> Tensor:
        if len(dim_zero_cat(self.target).unique()) < len(CLASS_NAMES):
            return torch.tensor(math.nan, device=self.device)
        return super().compute()


def detection_metrics(prefix: str = "") -> MetricCollection:
    """AUROC and `DECISION_METRICS` for validation, updated with class probabilities [N, 2] and labels [N].

    `compute` covers the updates of all processes. Decisions take the more probable class (threshold .5). F1 is macro,
    as in the published GenConViT rows, whose 863 + 135 errors are consistent with macro F1 only.
    """
    classes = len(CLASS_NAMES)
    metrics = {
        "accuracy": MulticlassAccuracy(classes, average="micro"),
        "macro_f1": MulticlassF1Score(classes, average="macro"),
        "auroc": FakeAUROC(),
        "balanced_accuracy": MulticlassAccuracy(classes, average="macro"),
        "real_error": ClassError(REAL),
        "fake_error": ClassError(FAKE),
    }
    return MetricCollection(metrics, prefix=prefix, compute_groups=False)


def score(fake_probability: Tensor, labels: Tensor, threshold: float = 0.5) -> dict[str, float]:
    """Compute the metrics of `TITLES`.

    The EER is the point on the linearly interpolated ROC curve where both error rates are equal. The calibration error
    uses 15 bins of P(fake) of equal width: the mean absolute difference between a bin's mean P(fake) and its share of
    fakes, weighted by bin size.

    If a class is missing, all metrics that need both classes are NaN, and so is the error rate of the missing class.

    Args:
        fake_probability: P(fake) [N] in 0..1.
        labels: int [N].
        threshold: decision threshold; with NaN, `DECISION_METRICS` are NaN.
    """
    probability = fake_probability.double()
    is_fake = labels == FAKE
    values = {
        "calibration_error": functional.binary_calibration_error(probability, labels, n_bins=CALIBRATION_BINS),
        "brier": (probability - is_fake.double()).square().mean(),
    }
    both_classes = bool(is_fake.any()) and not bool(is_fake.all())
    if both_classes:
        false_positives, true_positives, _ = functional.binary_roc(probability, labels)
        values |= {
            "auroc": functional.binary_auroc(probability, labels),
            "eer": np.interp(0, (false_positives + true_positives - 1).numpy(), false_positives.numpy()),
            "average_precision": functional.binary_average_precision(probability, labels),
            "tpr_at_1_fpr": true_positives[false_positives <= LOW_FPR].max(),
        }
    if not math.isnan(threshold):
        values |= _decision_scores((probability > threshold).long(), labels, both_classes)
    return {name: float(values.get(name, math.nan)) for name in TITLES}


def _decision_scores(decided: Tensor, labels: Tensor, both_classes: bool) -> dict[str, Tensor]:
    """The defined `DECISION_METRICS` of decisions [N] and labels [N]."""
    classes = len(CLASS_NAMES)
    values = {"accuracy": (decided == labels).double().mean()}
    for name, label in (("real_error", REAL), ("fake_error", FAKE)):
        values[name] = (decided != labels)[labels == label].double().mean()  # NaN if the class is missing
    if both_classes:
        values["macro_f1"] = functional.multiclass_f1_score(decided, labels, classes, average="macro")
        values["balanced_accuracy"] = functional.multiclass_accuracy(decided, labels, classes, average="macro")
    return values


def best_threshold(fake_probability: np.ndarray, labels: np.ndarray) -> float:
    """The threshold with the best balanced accuracy (the highest Youden index), to be chosen on the validation set.

    All thresholds between two neighbouring scores give the same decisions. Among the best of these intervals, the
    widest is chosen (the lowest in case of a tie), and the threshold is its midpoint.

    Args:
        fake_probability: P(fake) [N] in 0..1.
        labels: int [N].

    Returns:
        The threshold; .5 if no threshold is better than chance, NaN if a class is missing.
    """
    is_fake = np.asarray(labels) == FAKE
    if is_fake.all() or not is_fake.any():
        return math.nan
    scores, index = np.unique(np.asarray(fake_probability, dtype=np.float64), return_inverse=True)
    fakes, reals = (np.bincount(index, weights=of_class, minlength=len(scores)) for of_class in (is_fake, ~is_fake))
    # Youden index of a cut above each score but the last, times reals * fakes, which keeps it an exact integer.
    youden = (np.cumsum(reals) * fakes.sum() - np.cumsum(fakes) * reals.sum())[:-1]
    if not len(youden) or youden.max() <= 0:
        return 0.5
    best = np.flatnonzero(youden == youden.max())
    lower, upper = scores[best], scores[best + 1]
    widest = np.argmax(upper - lower)
    middle = (lower[widest] + upper[widest]) / 2
    return float(min(middle, np.nextafter(upper[widest], 0)))  # the midpoint of adjacent floats is one of them


def video_scores(predictions: pd.DataFrame) -> pd.DataFrame:
    """One row per video with the mean P(fake) over its frames.

    Args:
        predictions: one row per frame with `video_id`, `label` (0 real, 1 fake) and `fake_probability`.
    """
    exact = predictions.astype({"fake_probability": "float64"})  # exact sums of float32, independent of frame order
    return exact.groupby("video_id", as_index=False).agg(
        label=("label", "first"), fake_probability=("fake_probability", "mean"), frames=("label", "size")
    )


def at_level(predictions: pd.DataFrame, level: str) -> pd.DataFrame:
    """The rows scored at `level`, one of `LEVELS`: faces, or videos as in `video_scores`.

    Rows whose `is_missing` is true stand for videos without a face and count per video only.
    """
    if level == "video":
        return video_scores(predictions)
    return predictions[~predictions["is_missing"].astype(bool)] if "is_missing" in predictions else predictions


def score_table(predictions: pd.DataFrame, thresholds: dict[str, float] | None = None) -> dict[str, dict[str, float]]:
    """Metrics per level, ``{"frame": {...}, "video": {...}}``, of predictions in the format of `video_scores`.

    Args:
        predictions: one row per frame.
        thresholds: decision threshold per level; default .5.
    """
    table = {}
    for level in LEVELS:
        rows = at_level(predictions, level)
        probability, labels = (torch.tensor(rows[column].to_numpy()) for column in ("fake_probability", "label"))
        table[level] = score(probability, labels, thresholds[level] if thresholds else 0.5)
    return table


def choose_thresholds(validation: pd.DataFrame) -> dict[str, float]:
    """`best_threshold` of the validation predictions at each level, as frame and video scores need different ones."""
    levels = {level: at_level(validation, level) for level in LEVELS}
    return {
        level: best_threshold(rows["fake_probability"].to_numpy(), rows["label"].to_numpy())
        for level, rows in levels.items()
    }
