"""Do the exported files give the same P(fake) as the detector that they were made from?"""

import numpy as np

from deepfake_ms.errors import UserError
from deepfake_ms.exporting.graphs import Scores

BATCHES = (1, 2, 7)
"""Numbers of faces per call, in turn."""
TOLERANCE = 1e-4
"""Largest difference of P(fake) that is allowed."""


def measure_parity(name: str, score: Scores, original: Scores, faces: np.ndarray) -> float:
    """The largest difference of P(fake) between an exported file and the original, with calls of all `BATCHES`.

    Args:
        name: of the file.
        score: its scores.
        original: scores of the detector in Python.
        faces: RGB crops, uint8 [N, 3, S, S].

    Raises:
        UserError: the difference is larger than `TOLERANCE`, or not a number.
    """
    differences, start = [], 0
    while start < len(faces):
        batch = faces[start : start + BATCHES[len(differences) % len(BATCHES)]]
        differences.append(np.abs(score(batch) - original(batch)).max())
        start += len(batch)
    largest = float(np.max(differences))  # NaN if one is
    if not largest <= TOLERANCE:
        raise UserError(
            f"{name} differs from the detector in Python by {largest:.2g} in P(fake), more than {TOLERANCE:g}: "
            "nothing was exported; try another version of torch, onnx and onnxruntime."
        )
    return largest
