"""A detector of red squares with known answers, for the page."""

import numpy as np
from drawn import SquareDetector
from tiny_run import CONFIG

from deepfake_ms.models import build_model
from deepfake_ms.prediction.detector import TrainedDetector
from deepfake_ms.prediction.reference import Reference
from deepfake_ms.preprocessing.settings import PreparationSettings
from deepfake_ms.web.bounds import Bounds
from deepfake_ms.web.scoring import scorer

STATISTICS = 14


class Brightness(TrainedDetector):
    """P(fake) is the brightness of the crop; every face is like the training data. Samples twice per second."""

    def probabilities(self, crops: np.ndarray) -> np.ndarray:
        return (crops.mean(axis=(1, 2, 3)) / 255).astype(np.float32)


def brightness(synthetic: bool = True) -> Brightness:
    """With a network that has learnt nothing, which is explained."""
    model = {name: value for name, value in CONFIG["model"].items() if name not in ("name", "architecture")}
    return Brightness(
        name="brightness",
        preparation=PreparationSettings(fps=2, crop_size=32, margin=0.3, offset=0),
        thresholds={"frame": 0.6, "video": 0.4},
        temperatures={"frame": 2.0, "video": 0.5},
        synthetic=synthetic,
        about={"protocol_card": {"frames": "2 per second", "training": "red squares"}},
        reference=Reference(
            np.zeros(STATISTICS), np.zeros((STATISTICS, STATISTICS)), {"frame": 1.0, "video": 1.0}, smallest_face=8.0
        ),
        model=build_model(CONFIG["model"]["architecture"], **model).eval(),
    )


def squares(bounds: Bounds):
    """Scores red squares."""
    return scorer(brightness(), bounds, SquareDetector())
