"""Write the folder of an exported detector: all files, checked against the detector, or nothing."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_ms.errors import UserError
from deepfake_ms.evaluation.test_set import TestSet
from deepfake_ms.exporting import graphs
from deepfake_ms.exporting.config import CONFIG_NAME, FORMAT, model_arguments
from deepfake_ms.exporting.folder import WEIGHTS_NAME, from_pretrained, write_weights
from deepfake_ms.exporting.graphs import Scores, open_onnx, open_torch, scores_of
from deepfake_ms.exporting.model_card import CARD_NAME, model_card
from deepfake_ms.exporting.parity import BATCHES, TOLERANCE, measure_parity
from deepfake_ms.exporting.results import read_audit, read_results
from deepfake_ms.files import PART_SUFFIX, sha256_of, write_atomically, write_json
from deepfake_ms.models.base import DetectionModel
from deepfake_ms.provenance import code_version
from deepfake_ms.training.run import Run

FACES = 60
"""Validation faces, evenly spaced, that the parity is measured on."""


def export_detector(
    run: Run,
    to: Path,
    facts: Mapping[str, Any],
    model: DetectionModel,
    original: Scores,
    licence: str,
    report: Callable[[str], None],
) -> dict[str, Any]:
    """Write a finished run's detector as a folder that needs no run.

    Args:
        run: finished and evaluated.
        to: the folder, which must not exist or be empty.
        facts: of `deepfake_ms.prediction.detector.TrainedDetector`.
        model: with its trained weights, on the CPU, in evaluation mode.
        original: P(fake) of crops as the run's evaluation scores them.
        licence: of the weights, as Hugging Face names it, or `deepfake_ms.exporting.model_card.NOT_STATED`.
        report: is told each step.

    Returns:
        The content of config.json.

    Raises:
        UserError: the folder is in use, the run was not evaluated, a crop cannot be read, or an exported file differs
            from the detector.
    """
    results = read_results(run.folder, facts["about"]["checkpoint_sha256"])
    crop_size = facts["preparation"]["crop_size"]
    faces = _validation_faces(run, crop_size)
    config = {
        **describe_model(run.config["model"], model, crop_size),
        "detector": dict(facts),
        "license": {"weights": licence, "code": "MIT"},
        "provenance": _provenance(run, facts),
    }
    with _replacing_empty(to) as part:
        config = write_formats(part, config, model, original, faces, report)
        report("model card")
        parameters = sum(each.numel() for each in model.parameters())
        card = model_card(config, run.config, results, read_audit(run.folder), parameters)
        write_atomically(part / CARD_NAME, card)
        for path in part.iterdir():
            path.chmod((part / CARD_NAME).stat().st_mode)  # safetensors lets only the owner read
    return config


def describe_model(settings: Mapping[str, Any], model: DetectionModel, crop_size: int) -> dict[str, Any]:
    """The part of config.json from which `from_pretrained` builds a model.

    Args:
        settings: ``model`` of a run's configuration.
        model: built from them.
        crop_size: of the faces, in pixels.
    """
    return {
        "format": FORMAT,
        "architecture": settings["architecture"],
        "arguments": model_arguments(settings),
        "input": {
            "crop_size": crop_size,
            "input_size": model.input_size,
            "mean": list(model.mean),
            "std": list(model.std),
        },
    }


def write_formats(
    folder: Path,
    config: Mapping[str, Any],
    model: DetectionModel,
    original: Scores,
    faces: np.ndarray,
    report: Callable[[str], None],
) -> dict[str, Any]:
    """Write the detector in all formats, and config.json, and compare them with the original.

    Args:
        folder: where to write.
        config: the first part of config.json.
        model, original, report: as in `export_detector`.
        faces: to compare P(fake) on, uint8 [N, 3, crop_size, crop_size].

    Returns:
        The content of config.json, which has `files`, `onnx` and `parity`, too.

    Raises:
        UserError: an exported file differs from the detector.
    """
    report("weights")
    write_weights(folder, model)
    config = {**config, "files": {WEIGHTS_NAME: sha256_of(folder / WEIGHTS_NAME)}}
    write_json(folder / CONFIG_NAME, config)  # so that the weights can be opened and compared
    scorer = from_pretrained(folder)
    difference = {WEIGHTS_NAME: measure_parity(WEIGHTS_NAME, scores_of(scorer), original, faces)}
    report("torch.export")
    program = graphs.trace(scorer, config["input"]["crop_size"])
    graphs.write_torch(program, folder)
    difference[graphs.TORCH_NAME] = measure_parity(graphs.TORCH_NAME, open_torch(folder), original, faces)
    report("ONNX")
    names = graphs.write_onnx(program, folder)
    del program
    difference[graphs.ONNX_NAME] = measure_parity(graphs.ONNX_NAME, open_onnx(folder), original, faces)
    config["parity"] = {
        "faces": len(faces),
        "batches": list(BATCHES),
        "tolerance": TOLERANCE,
        "largest_difference": difference,
    }
    config["onnx"] = {"opset": graphs.OPSET, "input": graphs.INPUT, "output": graphs.OUTPUT}
    config["files"] |= {name: sha256_of(folder / name) for name in (graphs.TORCH_NAME, *names)}
    write_json(folder / CONFIG_NAME, config)
    return config


def _validation_faces(run: Run, crop_size: int) -> np.ndarray:
    """Crops of `FACES` validation faces as they were prepared, uint8 [N, 3, crop_size, crop_size]."""
    faces = TestSet.of_run(run, "validation").dataset(crop_size)
    chosen = np.linspace(0, len(faces) - 1, min(FACES, len(faces)), dtype=int)
    return faces.batch(chosen.tolist())["image"].numpy()


def _provenance(run: Run, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "trained_by": run.record["code"],
        "exported_by": code_version(),
        "libraries": run.record["libraries"],
        "config_sha256": run.record["config_sha256"],
        "checkpoint_sha256": facts["about"]["checkpoint_sha256"],
        "data": run.config["data"],
        "seed": run.seed,
        "starting_weights": {Path(name).name: digest for name, digest in run.config.get("starting_weights", {}).items()}
        | run.record.get("downloaded_weights", {}),
    }


@contextmanager
def _replacing_empty(folder: Path) -> Iterator[Path]:
    """A folder to write to: its files go to `folder` if the block ends without an exception; it is removed otherwise.

    Raises:
        UserError: `folder` is a file, or not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not an empty folder: choose another one with to=...")
    place = folder.resolve()
    # An empty folder may be a mounted disk, whose neighbours lie on another one and cannot be written.
    part = (place if place.exists() else place.parent) / f".{place.name}.{os.getpid()}{PART_SUFFIX}"
    part.mkdir(parents=True)
    try:
        yield part
        if place.exists():
            for path in part.iterdir():
                path.rename(place / path.name)
        else:
            part.rename(place)
    finally:
        shutil.rmtree(part, ignore_errors=True)
