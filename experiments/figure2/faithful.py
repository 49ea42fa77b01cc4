"""How faithful is each method of attribution? Measured on drawn fakes, where the artefacts are known."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from deepfake_ms.datasets.miniature import ArtefactStrengths
from deepfake_ms.explanation import METHODS
from deepfake_ms.explanation.attribution import attribute
from deepfake_ms.explanation.faithfulness import (
    deletion_curve,
    localisation_auc,
    pointing_hits,
    random_maps,
    randomised,
    rank_correlation,
)
from deepfake_ms.explanation.maps import views_to_explain
from deepfake_ms.explanation.trained import TrainedStage, batches
from deepfake_ms.explanation.truth import true_regions
from deepfake_ms.explanation.views import IMAGE, views_of
from deepfake_ms.labels import FAKE
from deepfake_ms.scoring.clustered_means import clustered_mean

RANDOM = "random map"
ARTEFACTS = tuple(each.name for each in fields(ArtefactStrengths))


def measure_faithfulness(
    stage: TrainedStage, rows: np.ndarray, corpus: Path | None, methods: Iterable[str] = METHODS
) -> pd.DataFrame:
    """Faithfulness of the attributions of the image to the class fake, on fakes that the detector detects.

    Args:
        stage: the detector; of GenConViT, only the view ``image`` is explained.
        rows: positions of the faces in the manifest, int [N].
        corpus: folder of the drawn corpus; None measures no agreement with artefacts.
        methods: of attribution, with random maps added as a baseline; those that do not fit the detector are left out.

    Returns:
        Empty if it detects none; else one row per face, method and measure, with `sample_id`, `video_id`, `method`,
        `measure`, `artefact` (or empty) and `value`. Measures: ``deletion`` and ``insertion``, the mean of P(fake) over
        the steps; ``randomised``, Spearman's correlation with the map of a network with permuted weights; ``pointing``
        and ``auc``, agreement with an artefact's region; ``area``, the share of the crop in that region, by which
        pointing succeeds by chance.
    """
    view = next(each for each in views_of(stage.model) if each.name.endswith(IMAGE))
    broken = next(each for each in views_of(randomised(stage.model)) if each.name.endswith(IMAGE))
    names = [name for name in methods if any(each.name == view.name for each in views_to_explain(stage.model, name))]
    parts = list(_measure(stage, rows, corpus, view, broken, [*names, RANDOM]))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _measure(stage, rows, corpus, view, broken, methods) -> Iterator[pd.DataFrame]:
    manifest = stage.run.faces.manifest
    size = stage.model.input_size
    for batch in batches(stage.detector, stage.run.faces, rows):
        with torch.no_grad():
            found = stage.detector(batch.image).argmax(dim=1) == FAKE
        kept = np.flatnonzero((found & (batch.labels == FAKE)).cpu().numpy())
        if not len(kept):
            continue
        image, classes = batch.image[kept], torch.full((len(kept),), FAKE, device=batch.image.device)
        faces = manifest.iloc[batch.rows[kept]][["sample_id", "video_id"]].reset_index(drop=True)
        regions = true_regions(stage.run.faces, corpus, batch.rows[kept], size) if corpus else []
        nowhere = np.zeros((size, size), dtype=bool)
        artefacts = {name: np.stack([each.get(name, nowhere) for each in regions]) for name in ARTEFACTS if regions}
        for method in methods:
            maps = (
                random_maps(tuple(batch.image[kept].shape[i] for i in (0, 2, 3)), seed=int(batch.rows[kept][0]))
                if method == RANDOM
                else attribute(view, image, classes, method)
            )
            values = {
                ("deletion", ""): deletion_curve(view.network, image, maps, classes).mean(axis=1),
                ("insertion", ""): deletion_curve(view.network, image, maps, classes, insertion=True).mean(axis=1),
            }
            if method != RANDOM:
                others = attribute(broken, image, classes, method)
                values["randomised", ""] = rank_correlation(maps, others)
            for name, truth in artefacts.items():
                values["pointing", name] = pointing_hits(maps, truth)
                values["auc", name] = localisation_auc(maps, truth)
                values["area", name] = np.where(truth.any(axis=(1, 2)), truth.mean(axis=(1, 2)), np.nan)
            for (measure, artefact), value in values.items():
                yield faces.assign(method=method, measure=measure, artefact=artefact, value=value)


def summarise_faithfulness(seeds: Mapping[int, pd.DataFrame], resamples: int) -> pd.DataFrame:
    """One row per method, measure and artefact with the columns of `clustered_mean`.

    The seeds detect different fakes; only faces that all of them detect count.
    """
    common = set.intersection(*(set(table["sample_id"]) for table in seeds.values()))
    kept = {seed: table[table["sample_id"].isin(common)] for seed, table in seeds.items()}
    lines = []
    first = next(iter(kept.values()))
    for (method, measure, artefact), _ in first.groupby(["method", "measure", "artefact"], sort=False):
        wanted = {"method": method, "measure": measure, "artefact": artefact}
        chosen = {seed: table[(table[list(wanted)] == pd.Series(wanted)).all(axis=1)] for seed, table in kept.items()}
        lines.append({**wanted, **clustered_mean(chosen, "value", resamples)})
    return pd.DataFrame(lines)
