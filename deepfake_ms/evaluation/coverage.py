"""Videos of a test set without a face: counted, and given the score that a stated policy demands."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from deepfake_ms.data.dataset import LABELS
from deepfake_ms.errors import UserError
from deepfake_ms.evaluation.test_set import LISTED, TestSet
from deepfake_ms.labels import CLASS_NAMES
from deepfake_ms.preprocessing.video_table import NO_FACE, NOT_RECORDED, UNREADABLE

EXCLUDED = "excluded"
MISSING: Mapping[str, float | None] = {"as_real": 0.0, "as_fake": 1.0, "chance": 0.5, EXCLUDED: None}
"""Policy → P(fake) of a video without a face; None leaves these videos out."""
LOW_COVERAGE = 0.99
"""A coverage below it is stated in a sentence."""


@dataclass(frozen=True)
class Coverage:
    """How many videos of a test set have a score of their own.

    Attributes:
        policy: of the videos without a face, a key of `MISSING`.
        videos: all videos of the test set.
        no_face, unreadable: those without any face, and those whose files cannot be read.
        missing: one row per video without a face: `video_id` and `label` (0 real, 1 fake, -1 unlabelled).
    """

    policy: str
    videos: int
    no_face: int
    unreadable: int
    missing: pd.DataFrame = field(repr=False)

    @classmethod
    def of(cls, test_set: TestSet, policy: str) -> "Coverage | None":
        """The coverage of a test set, with the policy `EXCLUDED` for the run's own; None if it is unknown.

        It is unknown for the run's own subsets that no list of the corpus defines, because a split assigns faces, and
        for test lists of faces that an earlier version prepared.

        Raises:
            UserError: the policy is unknown.
        """
        if policy not in MISSING:
            raise UserError(f"missing={policy} is unknown: choose from {', '.join(MISSING)}.")
        videos = test_set.faces.videos
        if test_set.videos is None or videos.empty:
            return None
        chosen = videos["label"].isin(CLASS_NAMES if test_set.labels.intersection(CLASS_NAMES) else test_set.labels)
        chosen &= ~videos["video_id"].isin(test_set.seen)
        if test_set.videos == LISTED:
            if (videos["official_subset"] == NOT_RECORDED).any():
                return None
            chosen &= videos["official_subset"] == "test"
        missing = videos[chosen & videos["problem"].notna()]
        return cls(
            EXCLUDED if test_set.own else policy,
            int(chosen.sum()),
            int((missing["problem"] == NO_FACE).sum()),
            int((missing["problem"] == UNREADABLE).sum()),
            pd.DataFrame({"video_id": missing["video_id"], "label": missing["label"].map(LABELS).astype("int64")}),
        )

    @property
    def share(self) -> float:
        """Share of the videos that have a score of their own, 0..1."""
        return 1 - len(self.missing) / self.videos

    def as_record(self) -> dict:
        """The counts, the share and the sentence, as plain values."""
        counts = {name: getattr(self, name) for name in ("policy", "videos", "no_face", "unreadable")}
        return {**counts, "share": self.share, "sentence": self.sentence()}

    def sentence(self) -> str:
        """How many videos have no score of their own, and what they count as."""
        score = MISSING[self.policy]
        counted = "are left out" if score is None else f"count with P(fake) {score:g}"
        return (
            f"{len(self.missing)} of {self.videos} videos have no score: {self.no_face} without a face, "
            f"{self.unreadable} unreadable; per video they {counted}."
        )


def with_missing(predictions: pd.DataFrame, coverage: Coverage | None) -> pd.DataFrame:
    """The predictions with one row per video without a face, which counts per video only.

    Args:
        predictions: one row per face with `sample_id`, `video_id`, `label` and `fake_probability`.
        coverage: of the test set; None leaves the predictions as they are.

    Returns:
        The same with the policy's P(fake) in further rows, whose `is_missing` is True; see `scoring.metrics.at_level`.
    """
    if coverage is None or MISSING[coverage.policy] is None or coverage.missing.empty:
        return predictions
    rows = coverage.missing.assign(
        sample_id=coverage.missing["video_id"], fake_probability=MISSING[coverage.policy], is_missing=True
    )
    return pd.concat([predictions.assign(is_missing=False), rows], ignore_index=True)
