"""``deepfake-ms train``: train a curriculum stage by stage, then score it on the test set."""

import shutil
from pathlib import Path

from lightning.pytorch.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, open_dict

from deepfake_ms.assembly import find_faces, open_run_log, run_config, trainer_settings
from deepfake_ms.cli import entry_point
from deepfake_ms.evaluation.predictions import SELECTED, read_predictions
from deepfake_ms.evaluation.scores import evaluate
from deepfake_ms.evaluation.show import print_scores
from deepfake_ms.evaluation.test_set import OWN, TestSet
from deepfake_ms.training.progress import rank_zero_console
from deepfake_ms.training.run import Run
from deepfake_ms.training.run_folder import config_hash, only_start
from deepfake_ms.training.shared_stages import adopt_stages, publish_stages
from deepfake_ms.training.train_stages import train_stages
from deepfake_ms.training.trainer import starts_other_processes


@entry_point("train")
def main(cfg: DictConfig) -> None:
    if batches := cfg.trainer.lightning.get("fast_dev_run"):
        _try_out(cfg, 1 if batches is True else batches)
        return
    trainer, faces, runs_root = trainer_settings(cfg), find_faces(cfg), Path(cfg.runs_root)
    console = rank_zero_console()
    run = Run.start(Path(cfg.run_folder), run_config(cfg, faces.about["fingerprint"]), faces, console)
    with only_start(run.folder):
        log = open_run_log(cfg, run, trainer)
        log.note_taken_over(adopt_stages(run, runs_root, trainer, console))
        train_stages(run, trainer, console, report=log.catch_up)
        publish_stages(run, runs_root)
        if cfg.evaluate and (scores := evaluate(run, TestSet.of_run(run, "test"), trainer, console)):
            print_scores(scores, run, console)
            log.log_scores(scores, {name: read_predictions(run, TestSet.of_run(run, name), SELECTED) for name in OWN})
        log.finish()
    console.print(f"Run folder: {run.folder}", highlight=False, markup=False)


def _try_out(cfg: DictConfig, batches: int) -> None:
    """Lightning's fast_dev_run: a short epoch of every stage in a temporary folder; nothing is scored."""
    faces, console = find_faces(cfg), rank_zero_console()
    run_config(cfg, faces.about["fingerprint"])  # raises the same errors as a full run
    with open_dict(cfg):
        del cfg.trainer.lightning["fast_dev_run"]
        cfg.trainer.lightning.update(limit_train_batches=batches, limit_val_batches=batches)
        cfg.optimization.epochs = len(cfg.curriculum.stages)
    trainer, config = trainer_settings(cfg), run_config(cfg, faces.about["fingerprint"])
    folder = Path(cfg.runs_root) / f".fast_dev_run_{config_hash(config)[:12]}"  # the same one on all ranks
    try:
        if starts_other_processes(trainer):
            shutil.rmtree(folder, ignore_errors=True)  # left by a killed start
        train_stages(Run.start(folder, config, faces, console), trainer, console)
    finally:
        if rank_zero_only.rank == 0:
            shutil.rmtree(folder, ignore_errors=True)
    console.print(f"fast_dev_run={batches}: every stage has trained and validated; nothing is scored or kept.")


if __name__ == "__main__":
    main()
