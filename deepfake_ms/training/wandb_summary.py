"""An evaluation or explanation of a run as a Weights & Biases run of its own: numbers in its summary, pictures."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import wandb

from deepfake_ms.errors import UserError
from deepfake_ms.training.run import Run
from deepfake_ms.training.wandb_run import require_login


def log_summary(
    folder: Path,
    settings: Mapping,
    run: Run,
    job_type: str,
    title: str,
    summary: Mapping[str, float],
    pictures: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> None:
    """Log numbers and pictures to a new W&B run.

    Args:
        folder: ``<folder>/wandb`` holds W&B's files.
        settings: of ``conf/logger``.
        run: that was evaluated or explained; its data and configuration describe the W&B run.
        job_type: of the W&B run, ``evaluate`` or ``explain``.
        title: name of the W&B run.
        summary: key → number; NaN is left out.
        pictures: caption → RGB uint8 [H, W, 3].

    Raises:
        UserError: an online run is requested without a login, or W&B does not start.
    """
    os.environ.setdefault("WANDB_SILENT", "true")
    if not settings["offline"]:
        require_login("logger.offline=false", "leave logger.offline=true and send it later with `wandb sync`")
    config, synthetic = run.config, run.record["synthetic"]
    try:
        logged = wandb.init(
            project=settings["project"],
            group=settings["group"],
            job_type=job_type,
            name=title,
            tags=[config["data"]["name"], config["model"]["name"], *(["synthetic"] if synthetic else [])],
            config={"run": str(run.folder), "config": config, "synthetic": synthetic},
            dir=folder,
            mode=os.environ.get("WANDB_MODE") or ("offline" if settings["offline"] else "online"),
            reinit="finish_previous",
        )
    except (wandb.Error, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"Weights & Biases does not start ({reason}): correct its settings, or set logger=csv."
        ) from error
    if pictures:
        logged.log({"faces": [wandb.Image(pixels, caption=name) for name, pixels in pictures.items()]})
    logged.summary.update({name: value for name, value in summary.items() if not math.isnan(value)})
    logged.finish()
