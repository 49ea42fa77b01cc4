"""Where a drawn fake has its artefacts, known because each can be drawn without the others."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from deepfake_ms.datasets.miniature.corpus import render_one
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


def artefact_regions(video: PlannedVideo, settings: MiniatureSettings, frame: int) -> dict[str, np.ndarray]:
    """The region of every artefact in one frame of a fake, before it is encoded.

    Args:
        video: a fake.
        settings: of its corpus.
        frame: number of the frame.

    Returns:
        Name of an artefact → bool [size, size]: where the frame with this artefact alone differs from the frame without
        artefacts by at least `VISIBLE` grey levels in a channel. Artefacts of strength 0 have no entry.
    """
    clean, _ = render_one(replace(video, artefacts=NO_ARTEFACTS), settings, frame)
    found = {}
    for name, strength in asdict(video.artefacts).items():
        if strength:
            alone = replace(video, artefacts=replace(NO_ARTEFACTS, **{name: strength}))
            drawn, _ = render_one(alone, settings, frame)
            found[name] = np.abs(drawn.astype(np.int16) - clean).max(axis=2) >= VISIBLE
    return found
