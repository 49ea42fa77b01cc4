"""The interface of logs in addition to the run folder."""

import pandas as pd


class RunLog:
    """Base class of logs; logs nothing itself. `metrics.csv` is written in any case."""

    def note_taken_over(self, stages: dict[str, str]) -> None:
        """Record which run trained a stage: stage -> folder of that run, from `adopt_stages`."""

    def catch_up(self) -> None:
        """Report the epochs and finished stages that are on disk and not reported yet."""

    def log_scores(self, scores: dict, predictions: dict[str, pd.DataFrame]) -> None:
        """Report the scores of the test set and the predictions of `test` and `validation`."""

    def finish(self) -> None:
        """Close the log, so that everything is on disk or sent."""
