"""The protocol card: what a number depends on, so that only like is compared with like."""

from collections.abc import Mapping
from pathlib import PurePath

from deepfake_ms.datasets.source import media_of
from deepfake_ms.evaluation.coverage import Coverage
from deepfake_ms.evaluation.predictions import SELECTED
from deepfake_ms.evaluation.test_set import LISTED, TestSet
from deepfake_ms.training.run import Run

FIELDS = {
    "training": "Training data",
    "test": "Test data",
    "frames": "Frames",
    "crop": "Crop",
    "level": "Level",
    "selection": "Checkpoint",
    "threshold": "Threshold",
    "missing": "Videos without a face",
    "perturbation": "Perturbation",
}
"""Keys of a card with their display names."""


def protocol_card(run: Run, test_set: TestSet, checkpoint: str, coverage: Coverage | None) -> dict[str, str]:
    """The card of a run on a test set; keys as in `FIELDS`.

    Args:
        run: finished.
        test_set: to score.
        checkpoint: ``selected`` or ``last``.
        coverage: of the test set, if it is known.
    """
    data, split = run.config["data"], run.config["split"]
    faces = test_set.faces.about
    frames, crop = describe_preparation(faces)
    trained_on = describe_preparation(run.faces.about)
    if (frames, crop) != trained_on:
        crop += f"; trained on {', '.join(trained_on)}"
    balanced = len(run.training_rows)
    if test_set.own:
        subset = test_set.name.split("_")[0]
        tested = f"{faces['data_name']} {faces['fingerprint']}, {subset} set of split {split['policy']}"
    else:
        chosen = "its test list" if test_set.videos == LISTED else "all its videos"
        tested = f"{faces['data_name']} {faces['fingerprint']}, {chosen}"
    last, changes = run.curriculum.stages[-1], test_set.perturbation
    best = checkpoint == SELECTED and last.carry == "best"
    return {
        "training": f"{data['name']} {data['fingerprint']}, split {split['policy']}, {balanced:,} balanced faces",
        "test": tested,
        "frames": frames,
        "crop": crop,
        "level": "per face, and per video by the mean P(fake)",
        "selection": f"best {run.curriculum.monitor} of the last stage" if best else "last epoch",
        "threshold": ".5, and the one of best balanced accuracy on the run's own validation set",
        "missing": coverage.policy.replace("_", " ") if coverage else "not part of the test set",
        "perturbation": f"{changes.name}, level {changes.level}" if changes else "none",
    }


def titled(card: Mapping[str, str]) -> dict[str, str]:
    """The fields of a card in the order of `FIELDS`, under their display names."""
    return {title: card[name] for name, title in FIELDS.items() if name in card}


def describe_preparation(about: Mapping) -> tuple[str, str]:
    """How frames are sampled and how faces are cropped, in words; "unknown" if the settings are not recorded.

    Args:
        about: description of the prepared faces. All images of a video are used; only videos are sampled.
    """
    preparation = about.get("preparation")
    if not preparation:
        return "unknown", "unknown"
    number = preparation.get("frames")
    if {media_of(PurePath(name)) for name in about.get("files", {})} - {None} == {"image"}:
        frames = "every image"
    else:
        frames = f"{number} evenly spaced per video" if number else f"{preparation['fps']:g} per second"
    if preparation.get("max_frames"):
        frames += f", the first {preparation['max_frames']}"
    if changes := preparation.get("perturbation"):
        frames += f", perturbed by {changes['name']}, level {changes['level']}"
    size, margin = preparation["crop_size"], preparation["margin"]
    if preparation.get("align", "none") != "none":
        shape = f"aligned by five points, scale {1 + margin:g}"
    else:
        shape = f"{1 + margin:g} times the box, not aligned"
    return frames, f"MTCNN, {preparation['face']} face, {shape}, {size} px"


def differences(card: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """What differs between two cards, in words; a field that one of them leaves empty is not compared."""
    return [
        f"{title.lower()}: {card[key]} here, {other[key]} there"
        for key, title in FIELDS.items()
        if card.get(key) and other.get(key) and card[key] != other[key]
    ]
