"""Scores of a detector: P(fake) against labels, per frame and per video. The positive class is fake."""

import pandas as pd
import torch
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import BinaryAUROC, MulticlassAccuracy, MulticlassF1Score, MulticlassRecall

from deepfake_ms.labels import CLASS_NAMES, FAKE, REAL

TITLES = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "auroc": "AUROC",
    "balanced_accuracy": "Balanced accuracy",
    "real_error": "Real taken for fake",
    "fake_error": "Fake taken for real",
}
"""Metric names as a reader should see them, in the order of the tables. The first three are the paper's."""


class ClassError(MulticlassRecall):
    """Share of one class that is taken for the other, 0..1: one minus that class's recall."""

    def __init__(self, label: int, **options):
        super().__init__(num_classes=len(CLASS_NAMES), average=None, **options)
        self.label = label

    def compute(self) -> Tensor:
        return 1 - super().compute()[self.label]


class FakeAUROC(BinaryAUROC):
    """AUROC of P(fake), fed with the two class probabilities [N, 2] like the other metrics."""

    def update(self, preds: Tensor, target: Tensor) -> None:
        super().update(preds[:, FAKE], target)


def detection_metrics(prefix: str = "", over_ranks: bool = True) -> MetricCollection:
    """The metrics of `TITLES`, fed with class probabilities [N, 2] (real, fake) and labels [N].

    With `over_ranks` they gather what all processes were fed before they compute.

    Decisions take the likelier class (threshold .5). F1 is macro, as the published GenConViT rows are (design
    facts: 863 + 135 errors fit macro F1 only).
    """
    classes, sync = len(CLASS_NAMES), {"sync_on_compute": over_ranks}
    metrics = {
        "accuracy": MulticlassAccuracy(classes, average="micro", **sync),
        "macro_f1": MulticlassF1Score(classes, average="macro", **sync),
        "auroc": FakeAUROC(**sync),
        "balanced_accuracy": MulticlassAccuracy(classes, average="macro", **sync),
        "real_error": ClassError(REAL, **sync),
        "fake_error": ClassError(FAKE, **sync),
    }
    return MetricCollection({name: metrics[name] for name in TITLES}, prefix=prefix, compute_groups=False)


def score(fake_probability: Tensor, labels: Tensor) -> dict[str, float]:
    """The metrics of `TITLES` for P(fake) [N] in 0..1 and labels [N]."""
    metrics = detection_metrics(over_ranks=False)
    metrics.update(torch.stack([1 - fake_probability, fake_probability], dim=1), labels)
    values = metrics.compute()  # sorted by name
    return {name: float(values[name]) for name in TITLES}


def video_scores(predictions: pd.DataFrame) -> pd.DataFrame:
    """One row per video: the mean P(fake) over its frames.

    Args:
        predictions: one row per frame with `video_id`, `label` (0 real, 1 fake) and `fake_probability`.
    """
    return predictions.groupby("video_id", as_index=False).agg(
        label=("label", "first"), fake_probability=("fake_probability", "mean"), frames=("label", "size")
    )


def score_table(predictions: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Metrics per level, ``{"frame": {...}, "video": {...}}``, of predictions as in `video_scores`."""
    levels = {"frame": predictions, "video": video_scores(predictions)}
    return {
        level: score(torch.tensor(rows["fake_probability"].to_numpy()), torch.tensor(rows["label"].to_numpy()))
        for level, rows in levels.items()
    }
