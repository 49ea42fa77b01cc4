"""Where a run reports to beside its own files."""

import pandas as pd


class RunLog:
    """Reports nowhere; `metrics.csv` is always written. The base class of other logs."""

    def note_taken_over(self, stages: dict[str, str]) -> None:
        """Remember which run trained a stage: stage -> that run's folder, from `adopt_stages`."""

    def catch_up(self) -> None:
        """Report the epochs and finished stages that are on disk and not reported yet."""

    def log_scores(self, scores: dict, predictions: dict[str, pd.DataFrame]) -> None:
        """Report the scores of the test set and the predictions of `test` and `validation`."""

    def finish(self) -> None:
        """Close the log, so that everything is on disk or sent."""
