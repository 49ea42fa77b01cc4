"""``deepfake-ms evaluate run=FOLDER``: score a finished run on its own faces or on other corpora."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from deepfake_ms.assembly import OWN_CORPUS, open_test_set, own_corpus, trainer_settings
from deepfake_ms.cli import entry_point
from deepfake_ms.composition import compose_corpus, load_choice
from deepfake_ms.errors import UserError
from deepfake_ms.evaluation.scores import evaluate, headline
from deepfake_ms.evaluation.show import print_overview, print_scores
from deepfake_ms.evaluation.test_set import AUTO, OWN, TestSet
from deepfake_ms.training.progress import rank_zero_console
from deepfake_ms.training.run import Run


@entry_point("evaluate")
def main(cfg: DictConfig) -> None:
    trainer, console = trainer_settings(cfg), rank_zero_console()
    prepared = Path(cfg.prepared) if cfg.prepared else None
    run = Run.open(Path(cfg.run), prepared, Path(cfg.prepared_root))
    preparation = HydraConfig.get().runtime.choices.get("preparation")
    test_sets = [choose_test_set(entry, run, cfg, preparation) for entry in cfg.test_sets or [cfg.test_set]]
    names = [test_set.name for test_set in test_sets]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"test_sets names {twice} twice: name each test set once.")
    found = {}
    for test_set in test_sets:
        if scores := evaluate(run, test_set, trainer, console, cfg.checkpoint, cfg.missing):
            print_scores(scores, run, console)
            found[test_set.name] = scores
    if len(found) > 1:
        print_overview(list(found.values()), console)
    if cfg.logger.wandb and found:
        from deepfake_ms.training.wandb_summary import log_summary  # takes half a second to import

        settings, title = OmegaConf.to_container(cfg.logger, resolve=True), f"evaluate {', '.join(found)}"
        log_summary(run.folder / "evaluation", settings, run, "evaluate", title, dict(headline(found)))


def choose_test_set(entry: str | DictConfig, run: Run, cfg: DictConfig, preparation: str | None) -> TestSet:
    """The test set that an entry of `test_sets` names.

    Args:
        entry: ``NAME``, ``{NAME: videos}`` or ``{NAME: {videos: ..., preparation: ...}}``. The name is that of a
            corpus, or ``test``, ``validation`` or ``own``: the run's own test videos in another preparation.
        run: to be tested.
        cfg: of ``conf/evaluate.yaml``; its `videos` and `preparation` count where the entry has none.
        preparation: name of the choice in ``cfg.preparation``, if there is one.

    Raises:
        UserError: there is no such corpus or preparation, its faces are not prepared, or its videos cannot be chosen.
    """
    if OmegaConf.is_dict(entry) and len(entry) != 1:
        raise UserError(f"test_sets: {entry} names {len(entry)} test sets: write each in braces of its own.")
    name, options = next(iter(entry.items())) if OmegaConf.is_dict(entry) else (entry, {})
    options = OmegaConf.to_container(options) if OmegaConf.is_dict(options) else {"videos": options} if options else {}
    if unknown := options.keys() - {"videos", "preparation"}:
        raise UserError(f"test_sets: {name} has no setting {', '.join(unknown)}: set videos or preparation.")
    perturbation = OmegaConf.to_container(cfg.perturbation)
    if name in OWN:
        if options or preparation or any(cfg.data.values()) or cfg.videos != AUTO:
            raise UserError(
                f"{name} is the run's own {name} set as it was prepared: leave out videos, preparation and data; for "
                "its test videos in other crops, use test_sets=[{own: {preparation: wide}}]."
            )
        return TestSet.of_run(run, name, perturbation)
    if cfg.test_sets and any(cfg.data.values()):
        raise UserError("data.* describes a single test_set: leave it out with test_sets, or test one after the other.")
    chosen = preparation, cfg.get("preparation")
    if own := options.get("preparation"):
        chosen = own, load_choice("preparation", own, f"test_sets: preparation of {name}")
    corpus = own_corpus(run) if name == OWN_CORPUS else compose_corpus(name, {} if cfg.test_sets else cfg.data)
    return open_test_set(run, corpus, Path(cfg.prepared_root), options.get("videos", cfg.videos), chosen, perturbation)


if __name__ == "__main__":
    main()
