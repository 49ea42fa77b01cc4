"""Detectors of several training corpora on several test sets: scores, operating points, groups of fakes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from deepfake_ms.errors import UserError
from deepfake_ms.evaluate import choose_test_set
from deepfake_ms.evaluation.breakdown import break_down, group_videos
from deepfake_ms.evaluation.coverage import Coverage, with_missing
from deepfake_ms.evaluation.predictions import SELECTED, read_predictions
from deepfake_ms.evaluation.scores import evaluate
from deepfake_ms.scoring.intervals import bootstrap_intervals, paired_difference
from deepfake_ms.scoring.metrics import LEVELS
from deepfake_ms.training.run import Run
from deepfake_ms.training.trainer import TrainerSettings
from experiments.report.cells import Cell
from experiments.report.paper_tables import TABLE_2

METRIC = "auroc"


@dataclass(frozen=True)
class Detector:
    """A row of Table 2 trained on a corpus."""

    data: str
    experiment: str

    @property
    def name(self) -> str:
        """Shown in tables."""
        return f"{TABLE_2.title_of(self.experiment)}, trained on {self.data}"


@dataclass(frozen=True)
class Tested:
    """A detector on a test set.

    Attributes:
        predictions: training seed → predictions, with a row per video without a face if the policy demands it.
        scores: training seed → content of scores.json.
        groups: of the test set's videos.
        own: whether the test set is the detector's own.
    """

    predictions: Mapping[int, pd.DataFrame]
    scores: Mapping[int, dict]
    groups: pd.DataFrame
    own: bool


def score_detectors(
    cells: Mapping[Detector, Sequence[Cell]],
    runs: Mapping[Detector, Path],
    suite: DictConfig,
    preparation: str | None,
    settings: TrainerSettings,
    console: Console,
) -> dict[tuple[Detector, str], Tested]:
    """Score every complete cell on every test set of the suite; what is scored already is read from the run's folder.

    Args:
        cells: complete runs of each detector.
        runs: folder of the runs of each detector's corpus and model.
        suite: a choice of ``conf/suite``, as ``deepfake-ms evaluate`` composes it.
        preparation: name of the preparation that the suite chooses; None for that of the runs' own faces.
        settings: hardware.
        console: prints one line per detector and test set.

    Returns:
        (detector, corpus) → results, in the order of detectors and suite.

    Raises:
        UserError: the faces of a test set are not prepared, or a run cannot be scored.
    """
    found = {}
    for detector, seeds in cells.items():
        for entry in suite.test_sets:
            name = next(iter(entry)) if OmegaConf.is_dict(entry) else entry
            console.print(f"{detector.name}: {name}, {len(seeds)} seeds")
            predictions, scores = {}, {}
            for cell in seeds:
                run = Run.open(runs[detector] / cell.name, None, Path(suite.prepared_root))
                test_set = choose_test_set(entry, run, suite, preparation)
                scores[cell.seed] = evaluate(run, test_set, settings, Console(quiet=True), missing=suite.missing)
                if "metrics" not in scores[cell.seed]:
                    raise UserError(f"{name} has no labels: a matrix needs test sets of real and fake faces.")
                found_faces = read_predictions(run, test_set, SELECTED)
                predictions[cell.seed] = with_missing(found_faces, Coverage.of(test_set, suite.missing))
            title = test_set.name if (detector, name) in found else name
            found[detector, title] = Tested(predictions, scores, group_videos(test_set), test_set.own)
    return found


def summarise_scores(tested: Mapping[tuple[Detector, str], Tested], resamples: int) -> pd.DataFrame:
    """AUROC of every detector on every test set, and its difference from the first detector of the same corpus.

    Args:
        tested: from `score_detectors`.
        resamples: bootstrap samples of the test videos per interval.

    Returns:
        One row per detector, test set and level, once by itself (`minus` empty) and once minus the reference, with the
        columns of `deepfake_ms.scoring.intervals`, and `own`, whether it is the detector's own test set.
    """
    lines = []
    for (detector, name), result in tested.items():
        reference = next(other for other, _ in tested if other.data == detector.data)
        for level in LEVELS:
            about = {"detector": detector.name, "test_set": name, "own": result.own, "level": level}
            about["seeds"] = len(result.predictions)
            summary = bootstrap_intervals(result.predictions, level, (METRIC,), resamples=resamples).loc[METRIC]
            lines.append({**about, "minus": "", **summary})
            if detector != reference:
                other = tested[reference, name].predictions
                seeds = sorted(result.predictions.keys() & other.keys())
                pair = ({seed: each[seed] for seed in seeds} for each in (result.predictions, other))
                summary = paired_difference(*pair, level, (METRIC,), resamples=resamples).loc[METRIC]
                lines.append({**about, "seeds": len(seeds), "minus": reference.name, **summary})
    return pd.DataFrame(lines)


def summarise_operating_points(tested: Mapping[tuple[Detector, str], Tested]) -> pd.DataFrame:
    """What the runs' own thresholds give on every test set, and what the best threshold there would give.

    Returns:
        One row per detector and test set, means over seeds per video: `real_error`, `fake_error` and
        `balanced_accuracy` at the run's own threshold; `oracle_balanced_accuracy`; `calibration_error` before and
        after temperature scaling on validation; `coverage` (NaN if unknown), `near_duplicates` of training faces.
    """
    return pd.DataFrame(
        [
            {
                "detector": detector.name,
                "test_set": name,
                **pd.DataFrame(list(map(_point, result.scores.values())), dtype=float).mean(skipna=False),
            }
            for (detector, name), result in tested.items()
        ]
    )


def _point(scores: dict) -> dict[str, float]:
    chosen = scores["metrics_at_validation_thresholds"]["video"]
    return {
        **{name: chosen[name] for name in ("real_error", "fake_error", "balanced_accuracy")},
        "oracle_balanced_accuracy": scores["oracle"]["video"]["balanced_accuracy"],
        "calibration_error": scores["metrics"]["video"]["calibration_error"],
        "calibration_error_scaled": scores["calibrated"]["video"]["calibration_error"],
        "coverage": scores["coverage"]["share"] if scores["coverage"] else float("nan"),
        "near_duplicates": scores["audit"]["near_duplicates"] if scores["audit"] else float("nan"),
    }


def summarise_groups(tested: Mapping[tuple[Detector, str], Tested], resamples: int) -> pd.DataFrame:
    """The groups of fakes of every detector and test set, with the columns of `break_down`; the worst first."""
    tables = [
        break_down(
            result.predictions,
            result.groups,
            {seed: scores["validation_thresholds"]["video"] for seed, scores in result.scores.items()},
            resamples,
        ).assign(detector=detector.name, test_set=name)
        for (detector, name), result in tested.items()
    ]
    return pd.concat(tables, ignore_index=True).sort_values("auroc", ignore_index=True)


def list_cards(tested: Mapping[tuple[Detector, str], Tested]) -> Iterator[dict[str, str]]:
    """The protocol card of every detector and test set, without the repetitions of its seeds."""
    for (detector, name), result in tested.items():
        first = next(iter(result.scores.values()))
        yield {"detector": detector.name, "test_set": name, **first["protocol_card"]}
