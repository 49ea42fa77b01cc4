"""``deepfake-ms evaluate run=FOLDER``: score a finished run."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from deepfake_ms.assembly import trainer_settings
from deepfake_ms.cli import entry_point
from deepfake_ms.evaluation.scores import evaluate, print_scores
from deepfake_ms.evaluation.test_set import TestSet
from deepfake_ms.training.progress import rank_zero_console
from deepfake_ms.training.run import Run


@entry_point("evaluate")
def main(cfg: DictConfig) -> None:
    trainer = trainer_settings(cfg)
    console = rank_zero_console()
    prepared = Path(cfg.prepared) if cfg.prepared else None
    run = Run.open(Path(cfg.run), prepared, Path(cfg.prepared_root))
    test_set = TestSet.of_run(run, cfg.test_set, OmegaConf.to_container(cfg.perturbation))
    if scores := evaluate(run, test_set, trainer, console, cfg.checkpoint):
        print_scores(scores, run, console)


if __name__ == "__main__":
    main()
