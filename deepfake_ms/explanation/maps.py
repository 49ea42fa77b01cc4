"""Attributions of a detector over many faces: maps of the faces to show, and region shares of all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch

from deepfake_ms.data.face_masks import FaceMask
from deepfake_ms.errors import UserError
from deepfake_ms.explanation.attribution import attribute
from deepfake_ms.explanation.regions import divide, shares
from deepfake_ms.explanation.trained import TrainedStage, batches, require_landmarks
from deepfake_ms.explanation.views import RECONSTRUCTION, View, reconstruct, views_of
from deepfake_ms.labels import FAKE
from deepfake_ms.models.base import DetectionModel

TARGETS = ("predicted", "fake", "real")
"""The explained class: the predicted one of each face, or the same for all."""


@dataclass(frozen=True, eq=False)
class Explained:
    """What `explain_faces` found.

    Attributes:
        faces: one row per face: `row` (position in the manifest), `sample_id`, `video_id`, `label` (0 real, 1 fake),
            `fake_probability`.
        shares: one row per face, view and region: `sample_id`, `video_id`, `label`, `view`, and the columns of
            `deepfake_ms.explanation.regions.shares`.
        maps: (row, view) → map, float32 [S, S] in 0..1, of the faces to show.
        reconstructions: (row, view) → RGB uint8 [h, w, 3], of the faces to show.
    """

    faces: pd.DataFrame
    shares: pd.DataFrame
    maps: dict[tuple[int, str], np.ndarray] = field(repr=False)
    reconstructions: dict[tuple[int, str], np.ndarray] = field(repr=False)


def views_to_explain(model: DetectionModel, method: str) -> list[View]:
    """The views of a detector that a method can explain; empty if the method does not fit the model.

    LIME perturbs the image and observes only the output, so it does not tell the two views of a network apart. Rollout
    needs a transformer.
    """
    views = views_of(model)
    if method == "lime":
        return [view for view in views if not view.name.endswith(RECONSTRUCTION)]
    if method == "rollout":
        return [view for view in views if view.transformer is not None]
    return views


def explain_faces(
    stage: TrainedStage,
    rows: np.ndarray,
    method: str,
    masks: Mapping[str, FaceMask],
    target: str = "predicted",
    shown: np.ndarray | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Explained:
    """Attribute the decisions of a detector on faces that are not masked.

    Args:
        stage: the detector.
        rows: positions in the manifest, int [N].
        method: of `deepfake_ms.explanation.attribution.METHODS`.
        masks: shapes of the regions, see `divide`.
        target: of `TARGETS`.
        shown: the rows whose maps are kept; None keeps none.
        progress: called with the number of faces after each batch.

    Raises:
        UserError: an argument is unknown, the method does not fit the model, or a face lacks landmarks.
    """
    if target not in TARGETS:
        raise UserError(f"target={target} is unknown; choose from {', '.join(TARGETS)}.")
    run, kept = stage.run, set() if shown is None else set(shown.tolist())
    views = views_to_explain(stage.model, method)
    if not views:
        raise UserError(
            f"method={method}: the model of {run.folder} has no transformer over the image; choose another method, for "
            "example gradcam."
        )
    manifest = run.faces.manifest
    require_landmarks(run.faces, rows)
    about, found = [], []
    maps: dict[tuple[int, str], np.ndarray] = {}
    reconstructions: dict[tuple[int, str], np.ndarray] = {}
    for batch in batches(stage.detector, run.faces, rows):
        with torch.no_grad():
            probability = stage.detector(batch.image).softmax(dim=1)[:, FAKE]
        predicted = (probability > 0.5).long()
        classes = predicted if target == "predicted" else torch.full_like(predicted, int(target == "fake"))
        faces = manifest.iloc[batch.rows][["sample_id", "video_id"]].reset_index(drop=True)
        faces.insert(0, "row", batch.rows)
        faces = faces.assign(label=batch.labels.cpu().numpy(), fake_probability=probability.cpu().numpy())
        about.append(faces)
        regions = divide(masks, stage.model.input_size, batch.landmarks)
        here = [place for place, row in enumerate(batch.rows) if int(row) in kept]
        for view in views:
            attributed = attribute(view, batch.image, classes, method)
            measured = shares(attributed, regions)
            known = faces.loc[measured.pop("face"), ["sample_id", "video_id", "label"]].reset_index(drop=True)
            found.append(pd.concat([known.assign(view=view.name), measured], axis=1))
            maps |= {(int(batch.rows[place]), view.name): attributed[place] for place in here}
        if here:
            with torch.no_grad():
                made = reconstruct(stage.model, batch.image[here])
            for name, images in made.items():
                pixels = (images.permute(0, 2, 3, 1) * 255).round().byte().cpu().numpy()
                reconstructions |= {(int(batch.rows[p]), name): each for p, each in zip(here, pixels, strict=True)}
        progress(len(batch.rows))
    return Explained(pd.concat(about, ignore_index=True), pd.concat(found, ignore_index=True), maps, reconstructions)


def choose_faces(predictions: pd.DataFrame, rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Rows of faces to show: wrongly and correctly classified real and fake ones in turn, first one face per video.

    Args:
        predictions: of these faces, from `deepfake_ms.explanation.trained.predict_faces`.
        rows: their positions in the manifest, int [N].
        count: number of faces.
        seed: of the choice.

    Returns:
        At most `count` of the rows, int [n].
    """
    shuffled = predictions.assign(row=rows).sample(frac=1, random_state=seed)
    shuffled["right"] = (shuffled["fake_probability"] > 0.5) == (shuffled["label"] == FAKE)
    shuffled["again"] = shuffled.groupby(["label", "right", "video_id"]).cumcount()
    shuffled = shuffled.sort_values("again", kind="stable")
    shuffled["turn"] = shuffled.groupby(["label", "right"]).cumcount()
    return shuffled.sort_values(["turn", "right", "label"], kind="stable")["row"].to_numpy()[:count]
