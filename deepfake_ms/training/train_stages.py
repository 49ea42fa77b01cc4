"""The loop over a run's stages: one Trainer per stage, chained by `StageChain`."""

from collections.abc import Callable
from functools import partial

import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException
from rich.console import Console

from deepfake_ms.errors import UserError
from deepfake_ms.models.timm_models import downloaded_weights
from deepfake_ms.provenance import code_digest, code_version, compare_libraries, library_versions
from deepfake_ms.training.callbacks import AfterEpoch, StepRandomness, StopTogether
from deepfake_ms.training.detector import find_parts
from deepfake_ms.training.loss_watch import refuse_loss
from deepfake_ms.training.metrics_table import MetricsTable
from deepfake_ms.training.progress import CurriculumProgress
from deepfake_ms.training.run import Run
from deepfake_ms.training.stage_chain import Handoff, StageChain, read_chain
from deepfake_ms.training.trainer import TrainerSettings


def train_stages(
    run: Run, settings: TrainerSettings, console: Console, report: Callable[[], None] | None = None
) -> list[Handoff]:
    """Train the stages of `run` that are not finished yet, in order; every rank runs this same loop.

    The run's folder is claimed right before the first stage: if the start fails earlier, it stays free.

    Args:
        run: its folder gets run.json, chain.json, metrics.csv and a folder per stage.
        settings: hardware and precision.
        console: where rank 0 prints progress.
        report: called on rank 0 before each stage, after each epoch and at the end, when the files are up to date.

    Returns:
        The handoff of every stage.

    Raises:
        UserError: a checkpoint or handoff of another run or stage is found, or the loss is not finite.
        SystemExit: 128 + the signal's number after a signal (0 on other ranks than 0), e.g. 143 after SIGTERM and 130
            after Ctrl-C; the same command continues the work.
    """
    curriculum = run.curriculum
    sample_ids = run.faces.manifest["sample_id"].tolist()
    chain = read_chain(run.folder)
    about = {
        "code": code_version(),
        "code_sha256": code_digest(),
        "libraries": library_versions(),
        "device": settings.device_name,
        "processes": settings.world_size,
    }
    if chain:
        console.print(f"{len(chain)} of {len(curriculum.stages)} stages are already finished.", highlight=False)
    warn_of_other_origins(chain, about, console)
    for index, stage in enumerate(curriculum.stages):
        if index < len(chain):
            continue
        stage_chain = StageChain(run.folder, curriculum, index, run.record["config_sha256"], about)
        if report:
            report()
        stop = StopTogether(partial(refuse_loss, run.folder, stage.name, sample_ids))
        trainer = settings.build(
            max_epochs=stage.epochs,
            **stage.clipping,
            logger=False,
            default_root_dir=run.folder,
            callbacks=[
                stop,
                StepRandomness(run.seed, stage.name),
                MetricsTable(run.folder, stage, first_step=sum(handoff.steps for handoff in chain)),
                *([AfterEpoch(report)] if report else []),
                CurriculumProgress(curriculum, index, console),
                *stage_chain.callbacks(settings.save_every_n_steps),
            ],
        )
        resumed = stage_chain.resume_point(partial(console.print, markup=False, highlight=False))
        detector = run.detector(stage, from_scratch=index == 0 and resumed is None)
        if downloaded := downloaded_weights(detector.model):
            run.note_downloads(downloaded)
        for later in curriculum.stages[index:]:
            find_parts(detector.model, later.freeze)  # so that a misspelt name stops the run before the first stage
        data = run.stage_data(stage, detector, settings.num_workers)
        run.claim()
        if swaps := data.training.describe_swaps():
            console.print(swaps, highlight=False)
        try:
            trainer.fit(detector, datamodule=data, ckpt_path=resumed, weights_only=True)
        except SIGTERMException:
            pass
        except SystemExit:  # Lightning's end after a second Ctrl-C
            if not stop.received:
                raise
        except RuntimeError as error:
            if "DataLoader worker" in str(error) and not isinstance(error, UserError):
                raise UserError(
                    f"A loader process died ({str(error).splitlines()[0].rstrip('.')}): give the container more shared "
                    "memory (docker run --shm-size=8g), or lower trainer.num_workers; the same command continues."
                ) from error
            if not stop.received:  # else another rank has left validation, and a collective operation failed
                if isinstance(error, torch.distributed.DistError) or "gloo" in str(error):
                    raise UserError(
                        f"Another process of this training has ended or does not answer within trainer.timeout_s "
                        f"({str(error).splitlines()[0][:150]}): see what it printed; the same command continues."
                    ) from error
                raise
        if stop.received:
            stop.exit(trainer.global_rank)
        chain.append(stage_chain.handoff or read_chain(run.folder)[index])  # ddp_spawn: it was made in another process
    run.claim()
    if report:
        report()
    return chain


def warn_of_other_origins(chain: list[Handoff], about: dict, console: Console) -> None:
    """Print the finished stages that were trained with other code, libraries or hardware than the current ones."""
    for handoff in chain:
        for origin in handoff.trained_by:
            changes = [
                f"{key} {origin[key]} -> {about[key]}"
                for key in ("code", "device", "processes")
                if origin[key] != about[key]
            ]
            if not changes and origin["code_sha256"] != about["code_sha256"]:
                changes = ["uncommitted changes of the code"]
            changes += compare_libraries(origin["libraries"], about["libraries"])
            if changes:
                console.print(
                    f"Stage {handoff.stage} was trained under other conditions ({', '.join(changes)}): the record and "
                    "the report note this.",
                    markup=False,
                    highlight=False,
                )
