"""``deepfake-ms evaluate run=FOLDER``: score a finished run on its own faces or on other corpora."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from deepfake_ms.assembly import open_test_set, trainer_settings
from deepfake_ms.cli import compose_corpus, entry_point
from deepfake_ms.evaluation.scores import evaluate
from deepfake_ms.evaluation.show import print_overview, print_scores
from deepfake_ms.evaluation.test_set import OWN, TestSet
from deepfake_ms.training.progress import rank_zero_console
from deepfake_ms.training.run import Run


@entry_point("evaluate")
def main(cfg: DictConfig) -> None:
    trainer, console = trainer_settings(cfg), rank_zero_console()
    prepared = Path(cfg.prepared) if cfg.prepared else None
    run = Run.open(Path(cfg.run), prepared, Path(cfg.prepared_root))
    found = []
    for test_set in [_test_set(entry, run, cfg) for entry in cfg.test_sets or [cfg.test_set]]:
        if scores := evaluate(run, test_set, trainer, console, cfg.checkpoint, cfg.missing):
            print_scores(scores, run, console)
            found.append(scores)
    if len(found) > 1:
        print_overview(found, console)


def _test_set(entry: str | DictConfig, run: Run, cfg: DictConfig) -> TestSet:
    """The test set that an entry of `test_sets` names: ``NAME``, or ``{NAME: videos}``."""
    name, videos = next(iter(entry.items())) if OmegaConf.is_dict(entry) else (entry, cfg.videos)
    perturbation = OmegaConf.to_container(cfg.perturbation)
    if name in OWN:
        return TestSet.of_run(run, name, perturbation)
    corpus = compose_corpus(name, {} if cfg.test_sets else cfg.data)
    return open_test_set(run, corpus, Path(cfg.prepared_root), videos, cfg.get("preparation"), perturbation)


if __name__ == "__main__":
    main()
