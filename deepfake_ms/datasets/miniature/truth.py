"""Where a drawn fake has its artefacts, known because each can be drawn without the others."""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from deepfake_ms.datasets.miniature.corpus import render_video
from deepfake_ms.datasets.miniature.plan import PlannedVideo, plan_corpus
from deepfake_ms.datasets.miniature.settings import NO_ARTEFACTS, ArtefactStrengths, MiniatureSettings
from deepfake_ms.datasets.source import CORPUS_NAME
from deepfake_ms.errors import UserError

VISIBLE = 4
"""Grey levels by which an artefact must change a pixel."""


def read_plan(corpus: Path) -> tuple[MiniatureSettings, dict[str, PlannedVideo]]:
    """The settings of a drawn corpus, and its videos by their names.

    Raises:
        UserError: the folder is not a drawn corpus.
    """
    path = corpus / CORPUS_NAME
    if not path.is_file():
        raise UserError(f"{path} is missing: only for a drawn corpus is it known where the artefacts are.")
    values = json.loads(path.read_text())["settings"]
    settings = MiniatureSettings(**values | {"artefacts": ArtefactStrengths(**values["artefacts"])})
    return settings, {video.name: video for video in plan_corpus(settings)}


def artefact_regions(video: PlannedVideo, settings: MiniatureSettings) -> Iterator[dict[str, np.ndarray]]:
    """The region of every artefact in every frame of a fake, before it is encoded.

    Yields:
        Name of an artefact → bool [size, size]: where the frame with this artefact alone differs from the frame without
        artefacts by at least `VISIBLE` grey levels in a channel. Artefacts of strength 0 have no entry.
    """
    names = [name for name, strength in asdict(video.artefacts).items() if strength]
    alone = [replace(NO_ARTEFACTS, **{name: getattr(video.artefacts, name)}) for name in names]
    clean, *others = (render_video(replace(video, artefacts=each), settings) for each in (NO_ARTEFACTS, *alone))
    for (frame, _), *drawn in zip(clean, *others, strict=True):
        yield {
            name: (np.abs(each.astype(np.int16) - frame).max(axis=2) >= VISIBLE)
            for name, (each, _) in zip(names, drawn, strict=True)
        }
