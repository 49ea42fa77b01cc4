"""``deepfake-ms evaluate run=FOLDER``: score a finished run on its own faces or on other corpora."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from deepfake_ms.assembly import find_test_faces, trainer_settings
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
    test_sets = [_test_set(name, run, cfg) for name in cfg.test_sets or [cfg.test_set]]
    found = []
    for test_set in test_sets:
        if scores := evaluate(run, test_set, trainer, console, cfg.checkpoint, cfg.missing):
            print_scores(scores, run, console)
            found.append(scores)
    if len(found) > 1:
        print_overview(found, console)


def _test_set(name: str, run: Run, cfg: DictConfig) -> TestSet:
    perturbation = OmegaConf.to_container(cfg.perturbation)
    if name in OWN:
        return TestSet.of_run(run, name, perturbation)
    corpus = compose_corpus(name, cfg.data if not cfg.test_sets else {})
    faces = find_test_faces(corpus, run, cfg.get("preparation"), Path(cfg.prepared_root))
    return TestSet.of_corpus(str(corpus.name), faces, cfg.videos, perturbation)


if __name__ == "__main__":
    main()
