"""The loop over a run's stages: one Trainer per stage, chained by `StageChain`."""

import signal
from collections.abc import Callable

from lightning.pytorch.utilities.exceptions import SIGTERMException
from rich.console import Console

from deepfake_ms.training.callbacks import AfterEpoch, StepRandomness, StopAtSigterm
from deepfake_ms.training.detector import find_parts
from deepfake_ms.training.metrics_table import MetricsTable
from deepfake_ms.training.progress import CurriculumProgress
from deepfake_ms.training.run import Run
from deepfake_ms.training.stage_chain import Handoff, StageChain, read_chain
from deepfake_ms.training.trainer import TrainerSettings


def train_stages(
    run: Run, settings: TrainerSettings, console: Console, report: Callable[[], None] | None = None
) -> list[Handoff]:
    """Train the stages of `run` that are not finished yet, in order; every rank runs this same loop.

    Args:
        run: its folder gets chain.json, metrics.csv and a folder per stage.
        settings: hardware and precision.
        console: where rank 0 prints progress.
        report: called on rank 0 before each stage, after each epoch and at the end, when all news is on disk.

    Returns:
        The handoff of every stage.

    Raises:
        UserError: a checkpoint or handoff of another run or stage is found, or the loss is not finite.
        SystemExit: 143 after SIGTERM (0 on other ranks than 0); the same command continues the work.
    """
    curriculum, stop = run.curriculum, StopAtSigterm()
    finished = len(read_chain(run.folder))
    if finished:
        console.print(f"{finished} of {len(curriculum.stages)} stages are finished and kept.", highlight=False)
    for index, stage in enumerate(curriculum.stages):
        if index < finished:
            continue
        chain = StageChain(run.folder, curriculum, index, run.record["config_sha256"])
        steps_before = sum(handoff.steps for handoff in read_chain(run.folder))
        if report:
            report()
        trainer = settings.build(
            max_epochs=stage.epochs,
            logger=False,
            callbacks=[
                StepRandomness(run.seed, stage.name),
                MetricsTable(run.folder, stage, steps_before),
                *([AfterEpoch(report)] if report else []),
                CurriculumProgress(curriculum, index, console),
                *chain.callbacks(settings.save_every_n_steps),
                stop,
            ],
        )
        detector = run.detector(stage, from_scratch=index == 0)
        for later in curriculum.stages[index:]:
            find_parts(detector.model, later.freeze)  # a misspelt name stops the run now and not after days
        data = run.stage_data(stage, detector, settings.num_workers)
        try:
            trainer.fit(detector, datamodule=data, ckpt_path=chain.resume_point(), weights_only=True)
        except SIGTERMException:
            stop.asked = True
        except RuntimeError:
            if not stop.asked:  # else another rank has left validation, and the collective fails on those that wait
                raise
        if stop.asked:
            # Lightning kills rank 0 as soon as a process that it has started ends with a status other than 0.
            raise SystemExit(0 if trainer.global_rank else 128 + signal.SIGTERM)
    if report:
        report()
    return read_chain(run.folder)
