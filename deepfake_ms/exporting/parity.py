"""Do the exported files give the same P(fake) as the detector that they were made from?"""

from collections.abc import Mapping

import numpy as np

from deepfake_ms.errors import UserError
from deepfake_ms.exporting.graphs import Scores

BATCHES = (1, 2, 7)
"""Numbers of faces per call, in turn."""
TOLERANCE = 1e-4
"""Largest difference of P(fake) that is allowed."""


def measure_parity(formats: Mapping[str, Scores], original: Scores, faces: np.ndarray) -> dict[str, float]:
    """The largest absolute difference of P(fake) between each format and the original, with calls of all `BATCHES`.

    Args:
        formats: file name → its scores.
        original: scores of the detector in Python.
        faces: RGB crops, uint8 [N, 3, S, S].

    Raises:
        UserError: a difference is larger than `TOLERANCE`, or not a number.
    """
    largest = dict.fromkeys(formats, 0.0)
    start, call = 0, 0
    while start < len(faces):
        batch = faces[start : start + BATCHES[call % len(BATCHES)]]
        expected = original(batch)
        for name, score in formats.items():
            largest[name] = float(np.maximum(largest[name], np.abs(score(batch) - expected).max()))  # keeps NaN
        start, call = start + len(batch), call + 1
    for name, difference in largest.items():
        if not difference <= TOLERANCE:
            raise UserError(
                f"{name} differs from the detector in Python by {difference:.2g} in P(fake), more than {TOLERANCE:g}: "
                "nothing was exported; try another version of torch, onnx and onnxruntime."
            )
    return largest
