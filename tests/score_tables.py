"""Score files of invented detectors; tests import it."""

from pathlib import Path

import numpy as np
import pandas as pd

from deepfake_ms.randomness import key


def scores(draw: int = 0, videos: int = 24, frames: int = 4, test_set: str = "celeb") -> pd.DataFrame:
    """Scores in the form of the contract; every third video is real. The draw changes the scores, not the videos."""
    random = np.random.default_rng(key("score file", draw))
    video = np.repeat(np.arange(videos), frames)
    label = (video % 3 > 0).astype("int64")
    logit = label - 0.5 + random.normal(size=videos)[video] + random.normal(size=len(video)) / 2
    names = np.where(label == 1, "Celeb-synthesis/id0_id1_", "Celeb-real/id0_")
    return pd.DataFrame(
        {
            "test_set": test_set,
            "video": [f"{name}{number:04}" for name, number in zip(names, video, strict=True)],
            "frame": [str(number) for number in np.tile(np.arange(frames) * 25, videos)],
            "label": label,
            "score": 1 / (1 + np.exp(-logit)),
        }
    )


def write(folder: Path, name: str, text: str) -> Path:
    """A CSV file with the lines of `text`."""
    path = folder / name
    path.write_text(text)
    return path
