"""``deepfake-ms train``: train a curriculum stage by stage, then score it on the test set."""

from pathlib import Path

from omegaconf import DictConfig

from deepfake_ms.assembly import find_faces, open_run_log, run_config, trainer_settings
from deepfake_ms.cli import entry_point
from deepfake_ms.evaluation.predictions import SELECTED, read_predictions
from deepfake_ms.evaluation.scores import evaluate, print_scores
from deepfake_ms.evaluation.test_set import OWN, TestSet
from deepfake_ms.training.progress import rank_zero_console
from deepfake_ms.training.run import Run
from deepfake_ms.training.run_folder import only_start
from deepfake_ms.training.shared_stages import adopt_stages, publish_stages
from deepfake_ms.training.train_stages import train_stages


@entry_point("train")
def main(cfg: DictConfig) -> None:
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


if __name__ == "__main__":
    main()
