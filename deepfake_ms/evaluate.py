"""``python -m deepfake_ms.evaluate run=<folder>``: score a finished run."""

from pathlib import Path

from lightning.pytorch.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig
from rich.console import Console

from deepfake_ms.assembly import build_trainer_settings
from deepfake_ms.cli import entry_point
from deepfake_ms.evaluation.scores import evaluate_run, print_scores


@entry_point("evaluate")
def main(cfg: DictConfig) -> None:
    console = Console(quiet=rank_zero_only.rank != 0, soft_wrap=True)
    run = Path(cfg.run)
    scores = evaluate_run(
        run,
        build_trainer_settings(cfg.trainer),
        cfg.trainer.num_workers,
        console,
        checkpoint=cfg.checkpoint,
        subset=cfg.subset,
        prepared=Path(cfg.prepared) if cfg.prepared else None,
    )
    if scores:
        print_scores(scores, run, console)


if __name__ == "__main__":
    main()
