"""An explanation as a Weights & Biases run of its own: the faces as images, shares or reliance in the summary."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
import wandb

from deepfake_ms.errors import UserError
from deepfake_ms.training.run import Run
from deepfake_ms.training.wandb_run import require_login


def log_explanation(
    folder: Path,
    settings: Mapping,
    run: Run,
    title: str,
    lines: pd.DataFrame,
    keys: Sequence[str],
    pictures: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> None:
    """Log the content of an explanation's page; its W&B run has the job type ``explain``.

    Args:
        folder: of the page; ``<folder>/wandb`` holds W&B's files.
        settings: of ``conf/logger``.
        run: the first of the explained runs; its data and configuration describe the W&B run.
        title: name of the W&B run.
        lines: from `summarise_shares` or `summarise_reliance`.
        keys: columns whose values make up the name of a line's mean in the summary: ``<detector>/<view>/<region>/...``.
        pictures: sample id → one face with its attributions, RGB uint8 [H, W, 3].

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
            job_type="explain",
            name=title,
            tags=[config["data"]["name"], config["model"]["name"], *(["synthetic"] if synthetic else [])],
            config={"explained": str(run.folder), "config": config, "synthetic": synthetic},
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
    named = {"/".join(filter(None, line[list(keys)])): line["mean"] for _, line in lines.iterrows()}
    logged.summary.update({name: value for name, value in named.items() if not np.isnan(value)})
    logged.finish()
