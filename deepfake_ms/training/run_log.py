"""Where a run reports to beside its own files: nowhere, or Weights & Biases."""

import os
from collections.abc import Mapping

import pandas as pd
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from deepfake_ms.training.run import Run
from deepfake_ms.training.trainer import TrainerSettings


class RunLog:
    """Reports nowhere; `metrics.csv` is always written. The base class of other logs."""

    def note_taken_over(self, stages: dict[str, str]) -> None:
        """Remember which run trained a stage: stage -> that run's folder, from `adopt_stages`."""

    def catch_up(self) -> None:
        """Report the epochs and finished stages that are on disk and not reported yet."""

    def log_scores(self, scores: dict, predictions: dict[str, pd.DataFrame]) -> None:
        """Report the scores of a test set and the predictions of `test` and `validation`."""

    def finish(self) -> None:
        """Close the log, so that everything is on disk or sent."""


def open_run_log(run: Run, logger: Mapping, trainer: TrainerSettings) -> RunLog:
    """The log that ``conf/logger`` settings ask for; none on other ranks than 0, or where W&B is disabled.

    Raises:
        UserError: an online log is asked for without a login.
    """
    disabled = "disabled" in os.environ.get("WANDB_MODE", "") or os.environ.get("WANDB_DISABLED", "false") != "false"
    if not logger["wandb"] or disabled or rank_zero_only.rank != 0:
        return RunLog()
    from deepfake_ms.training.wandb_run import WandbRun, describe_hardware  # takes half a second to import

    return WandbRun(run.folder, logger, run.record, describe_hardware(trainer.lightning))
