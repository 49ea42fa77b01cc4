"""One Weights & Biases run per curriculum, rebuilt from the files in the run's folder.

`metrics.csv` and `chain.json` are the reference. Whatever they contain and W&B lacks is logged: epoch by epoch while a
stage trains, at once for a stage that was reused. A run that is killed and started again therefore remains one W&B
run with continuous steps, and a finished run that is started again logs nothing. Offline, each start rewrites its W&B
folder from these files and removes the previous one, so that `wandb sync` never has to merge fragments.
"""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import wandb
from torchmetrics.functional.classification import binary_roc
from wandb.sdk.lib.runid import generate_id

from deepfake_ms.errors import UserError
from deepfake_ms.files import write_atomically, write_json
from deepfake_ms.labels import CLASS_NAMES
from deepfake_ms.scoring.metrics import score_table
from deepfake_ms.training.metrics_table import METRICS_NAME
from deepfake_ms.training.run_log import RunLog
from deepfake_ms.training.stage_chain import CHAIN_NAME, Handoff, read_chain

ID_NAME = "wandb_id.txt"
STATE_NAME = "wandb_logged.json"
STEP = "trainer/global_step"
"""The x axis: optimizer steps over all stages, counted from 0 as Lightning does."""
CURVE_POINTS = 1000


class WandbRun(RunLog):
    """The W&B run of a run's folder; opened when there is something to log, and nothing is logged twice.

    Args:
        folder: of the run; ``<folder>/wandb`` holds W&B's files and, before the first step, `ID_NAME` the run's id. In
            a W&B sweep the id is the one that the sweep's agent gave.
        settings: `project` and `group` as in W&B; `offline`; `log_checkpoints`: whether the artifact of a stage holds
            its checkpoint.
        record: the run's record, as `deepfake_ms.training.run_folder.read_record` returns it.
        hardware: recorded in W&B's configuration; does not affect the run's identity.

    Raises:
        UserError: `settings` asks for an online run and nobody is logged in.
    """

    def __init__(self, folder: Path, settings: Mapping, record: dict, hardware: dict):
        # Absolute: wandb's own process may have been started in another directory.
        self.folder, self.settings, self.record, self.hardware = folder.resolve(), settings, record, hardware
        self.sweep = "WANDB_SWEEP_ID" in os.environ
        os.environ.setdefault("WANDB_SILENT", "true")
        if not settings["offline"]:
            require_login("logger.offline=false", "leave logger.offline=true and send the run later with `wandb sync`")
        self.id = self._settle_id()
        self._run: wandb.Run | None = None
        self._tables: list[wandb.Table] = []  # the handoffs whose artifacts are logged, preceded by the data
        self._scores: str | None = None  # digest of those logged
        self._in_other_process = False

    def __getstate__(self) -> dict:
        # ddp_spawn: the process that opened the run logs when the stage is over.
        return {**self.__dict__, "_run": None, "_tables": [], "_in_other_process": True}

    def note_taken_over(self, stages: dict[str, str]) -> None:
        """Record which run trained a stage: stage → folder of that run, from `adopt_stages`."""
        known = self._state()
        sources = {stage: "/".join(Path(other).parts[-4:]) for stage, other in stages.items()}
        write_json(self.folder / STATE_NAME, {**known, "taken_over": {**known.get("taken_over", {}), **sources}})

    def catch_up(self) -> None:
        """Log the epochs and finished stages that are on disk and not logged yet."""
        if self._in_other_process or (self._run is None and self._state().get("training") == self._training_digest()):
            return
        run = self._open()
        self._log_epochs(run)
        self._log_stages(run)

    def log_scores(self, scores: dict, predictions: dict[str, pd.DataFrame]) -> None:
        """Put the scores into the summary, and log the test predictions as a table, a ROC and a confusion matrix.

        Summary keys: ``test/frame/auroc``, ``test/video/at_validation_threshold/accuracy``,
        ``validation/frame/auroc``, ``validation/frame/threshold``, …

        Args:
            scores: of the test set, as returned by `deepfake_ms.evaluation.scores.evaluate`.
            predictions: of the subsets `test` and `validation`: one row per face with `sample_id`, `video_id`, `label`,
                `method` and `fake_probability`.
        """
        if self._run is None and self._state().get("scores") == _digest_scores(scores):
            return
        run = self._open()
        self._log_epochs(run)
        self._log_stages(run)
        run.summary.update(dict(_flatten_scores(scores, predictions["validation"])))
        run.config.update({"protocol": scores["protocol"]}, allow_val_change=True)
        run.log(_show_predictions(predictions["test"]))
        self._scores = _digest_scores(scores)

    def finish(self) -> None:
        """Close the run, so that all of it is on disk or sent; does nothing if there was nothing to log."""
        if self._run is None:
            return
        self._run.finish()
        self._run = None
        state = {**self._state(), "id": self.id, "training": self._training_digest(), "scores": self._scores}
        write_json(self.folder / STATE_NAME, state)

    def _settle_id(self) -> str:
        path = self.folder / ID_NAME
        if self.sweep:
            if "WANDB_RUN_ID" not in os.environ:
                raise UserError(
                    "WANDB_SWEEP_ID is set but WANDB_RUN_ID is not: start sweep runs with `wandb agent`, or unset "
                    "WANDB_SWEEP_ID."
                )
            write_atomically(path, os.environ["WANDB_RUN_ID"])
        elif not path.is_file():
            write_atomically(path, generate_id())
        return path.read_text().strip()

    def _state(self) -> dict:
        """The logging state: digests of the logged `training` and `scores` under the run's id, and `taken_over`."""
        path = self.folder / STATE_NAME
        state = json.loads(path.read_text()) if path.is_file() else {}
        if state.get("id") == self.id:
            return state
        return {name: value for name, value in state.items() if name == "taken_over"}

    def _training_digest(self) -> str:
        files = (self.folder / name for name in (METRICS_NAME, CHAIN_NAME))
        return hashlib.sha256(b"".join(path.read_bytes() for path in files if path.is_file())).hexdigest()

    def _open(self) -> wandb.Run:
        if self._run is not None:
            return self._run
        config = self.record["config"]
        about = {name: self.record[name] for name in ("synthetic", "code", "libraries", "manifest_sha256")}
        tags = [
            config["data"]["name"],
            *(config[key]["name"] for key in ("model", "loss", "augmentation", "curriculum")),
        ]
        synthetic = ["synthetic"] if self.record["synthetic"] else []
        data = f"{config['data']['name']} {config['data']['fingerprint']}"
        arguments = {
            "project": None if self.sweep else self.settings["project"],
            "id": None if self.sweep else self.id,
            "name": f"{self.folder.parent.name}/{self.folder.name}",
            "group": self.settings["group"],
            "job_type": "train",
            "tags": list(dict.fromkeys(tags + synthetic)),
            "notes": f"{'SYNTHETIC data' if synthetic else 'Data'}: {data}. Code: {self.record['code']}.",
            "config": {**config, "hardware": self.hardware, "provenance": about},
            "dir": self.folder,
            "mode": "offline" if self.settings["offline"] else "online",
            "resume": None if self.settings["offline"] else "allow",
            "reinit": "finish_previous",  # left open by a failed job of the same multirun
        }
        try:
            self._run = run = wandb.init(**arguments)
        except (wandb.Error, ValueError) as error:  # ValueError: an environment variable that W&B cannot read
            reason = " ".join(str(error).split())
            raise UserError(
                f"Weights & Biases does not start ({reason}): correct the WANDB_* environment variables or logger "
                "settings, or set logger=csv; the same command continues."
            ) from error
        run.define_metric(STEP)
        run.define_metric("*", step_metric=STEP, step_sync=True)
        for folder in (self.folder / "wandb").glob("offline-run-*"):
            if folder.resolve() != Path(run.dir).resolve().parent:
                shutil.rmtree(folder)
        self._tables, self._scores = [], None
        self._log_data(run)
        return run

    def _log_epochs(self, run: wandb.Run) -> None:
        """Log the rows of metrics.csv that W&B lacks, each with the number of its stage."""
        path = self.folder / METRICS_NAME
        if not path.is_file():
            return
        first_step = 0
        for number, (name, rows) in enumerate(pd.read_csv(path).groupby("stage", sort=False), start=1):
            for place, row in enumerate(rows.drop(columns=["stage", "faces"]).to_dict("records")):
                step = row.pop("step") - 1
                if step < run.step:
                    continue
                if place == 0:
                    run.log({"stage": number, STEP: first_step}, step=first_step)
                    border = {"number": number, "first_step": first_step, "faces": rows["faces"].iloc[0]}
                    run.config.update({"stages": {**run.config.get("stages", {}), name: border}}, allow_val_change=True)
                known = {key: value for key, value in row.items() if not pd.isna(value)}
                run.log({**known, "stage": number, STEP: step}, step=step, commit=True)
            first_step = int(rows["step"].iloc[-1])

    def _log_data(self, run: wandb.Run) -> None:
        about = self.record["config"]["data"] | {name: self.record[name] for name in ("synthetic", "manifest_sha256")}
        artifact = wandb.Artifact(f"{about['name']}-faces", "dataset", metadata=about)
        self._tables = [_add_record(artifact, "faces", about)]
        run.log_artifact(artifact)

    def _log_stages(self, run: wandb.Run) -> None:
        """Log an artifact for each finished stage, and its score in the summary."""
        chain = read_chain(self.folder)
        names = [self._artifact_name(handoff) for handoff in chain]
        for index, handoff in enumerate(chain):
            if index + 1 < len(self._tables):
                continue
            about = {
                **vars(handoff),
                "trained_by": "; ".join(origin["code"] for origin in handoff.trained_by),
                "parent": names[index - 1] if index else None,
                "data": self.record["config"]["data"]["fingerprint"],
                "taken_over_from": self._state().get("taken_over", {}).get(handoff.stage),
            }
            artifact = wandb.Artifact(names[index], "model", metadata=about)
            artifact.add(self._tables[0], "inputs/faces")
            if index:
                artifact.add(self._tables[-1], "inputs/parent")
            self._tables.append(_add_record(artifact, "handoff", about))
            if self.settings["log_checkpoints"]:
                path = self.folder / handoff.checkpoint
                # Not copied: a finished stage's checkpoint does not change, and sync reads it from where it is.
                artifact.add_file(str(path.resolve()), name=path.name, policy="immutable", skip_cache=True)
            run.log_artifact(artifact, aliases=["latest", f"sha256-{handoff.sha256[:12]}"])
            run.summary[f"handoff/{handoff.stage}/score"] = handoff.score
        if chain:
            optimization = self.record["config"]["optimization"]
            best = (max if optimization["mode"] == "max" else min)(handoff.score for handoff in chain)
            run.summary.update({"handoff/score": chain[-1].score, f"best/{optimization['monitor']}": best})

    def _artifact_name(self, handoff: Handoff) -> str:
        config = self.record["config"]
        row = self.folder.parent.name
        return f"{config['data']['name']}-{config['model']['name']}-{row}-seed{config['seed']}-{handoff.stage}"


def describe_hardware(trainer: dict) -> dict:
    """The arguments of the Trainer, the number of CPU cores and the name of the GPU."""
    on_gpu = trainer["accelerator"] in ("gpu", "cuda", "auto") and torch.cuda.is_available()
    return {**trainer, "cores": os.cpu_count(), "gpu": torch.cuda.get_device_name() if on_gpu else None}


def require_login(what: str, instead: str) -> None:
    """Check that there is a W&B login; in a terminal, W&B first prompts for one.

    Args:
        what: subject of the error sentence, which needs the login.
        instead: alternative to logging in, for the error sentence.

    Raises:
        UserError: there is no login.
    """
    try:
        logged_in = wandb.login()
    except wandb.Error:
        logged_in = False
    if not logged_in:
        raise UserError(f"{what} needs a Weights & Biases login: run `wandb login`, or {instead}.")


def _add_record(artifact: wandb.Artifact, name: str, about: dict) -> wandb.Table:
    """Add `about` as a table of one row, to which later artifacts can refer: W&B's lineage between artifacts."""
    table = wandb.Table(columns=list(about), data=[["" if value is None else value for value in about.values()]])
    artifact.add(table, name)
    return table


def _digest_scores(scores: dict) -> str:
    decisive = [scores[name] for name in ("checkpoint_sha256", "metrics", "metrics_at_validation_thresholds")]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _flatten_scores(scores: dict, validation: pd.DataFrame) -> Iterator[tuple[str, float]]:
    tables = {
        "test/{}": scores["metrics"],
        "test/{}/at_validation_threshold": scores["metrics_at_validation_thresholds"],
        "validation/{}": score_table(validation),
    }
    for prefix, table in tables.items():
        for level, values in table.items():
            for name, value in values.items():
                if value is not None and not math.isnan(value):
                    yield f"{prefix.format(level)}/{name}", value
    for level, threshold in scores["validation_thresholds"].items():
        yield f"validation/{level}/threshold", threshold


def _show_predictions(predictions: pd.DataFrame) -> dict:
    """Table of the faces, ROC (at most `CURVE_POINTS` of its points) and confusion matrix at threshold .5."""
    probability, label = (predictions[column].to_numpy() for column in ("fake_probability", "label"))
    false_positives, true_positives, _ = binary_roc(torch.tensor(probability), torch.tensor(label))
    chosen = np.unique(np.linspace(0, len(false_positives) - 1, CURVE_POINTS).round().astype(int))
    columns = ["false positive rate", "true positive rate"]
    curve = np.stack([false_positives.numpy()[chosen], true_positives.numpy()[chosen]], axis=1)
    shown = predictions[["sample_id", "video_id", "method", "label", "fake_probability"]]
    return {
        "test/predictions": wandb.Table(dataframe=shown.assign(label=[CLASS_NAMES[each] for each in label])),
        "test/roc": wandb.plot.line(
            wandb.Table(data=curve.tolist(), columns=columns), *columns, title="ROC, test frames"
        ),
        "test/confusion": wandb.plot.confusion_matrix(
            y_true=label.tolist(),
            preds=(probability > 0.5).astype(int).tolist(),
            class_names=list(CLASS_NAMES),
            title="Test frames at threshold .5",
        ),
    }
