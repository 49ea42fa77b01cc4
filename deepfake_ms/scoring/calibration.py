"""Temperature scaling (Guo et al., ICML 2017): one number, fitted on validation, softens or sharpens P(fake)."""

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from deepfake_ms.labels import FAKE

RANGE = (0.05, 20.0)
"""Temperatures that are searched; a value at the end means that no temperature in between fits better."""
_EPSILON = 1e-7


def fit_temperature(predictions: pd.DataFrame) -> float:
    """The temperature with the lowest negative log likelihood of the validation faces or videos.

    Args:
        predictions: one row per face or video with `label` (0 real, 1 fake) and `fake_probability`.

    Returns:
        The temperature, within `RANGE`: above 1 if the detector is overconfident. NaN if a class is missing.
    """
    is_fake = predictions["label"].to_numpy() == FAKE
    if is_fake.all() or not is_fake.any():
        return float("nan")
    logits = _logits(predictions["fake_probability"].to_numpy())
    signed = np.where(is_fake, logits, -logits)

    def loss(log_temperature: float) -> float:
        return float(np.logaddexp(0, -signed / np.exp(log_temperature)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=tuple(np.log(RANGE)), method="bounded").x))


def apply_temperature(predictions: pd.DataFrame, temperature: float) -> pd.DataFrame:
    """The predictions with ``P(fake) = sigmoid(logit / temperature)``; their order, and hence the AUROC, stays.

    Without a temperature (NaN), they stay as they are.
    """
    if np.isnan(temperature):
        return predictions
    probability = calibrate(predictions["fake_probability"].to_numpy(), temperature)
    return predictions.assign(fake_probability=probability)


def calibrate(probability: np.ndarray, temperature: float) -> np.ndarray:
    """``sigmoid(logit(probability) / temperature)``; the same probabilities without a temperature (NaN)."""
    return probability if np.isnan(temperature) else expit(_logits(probability) / temperature)


def _logits(probability: np.ndarray) -> np.ndarray:
    return logit(np.clip(probability.astype(np.float64), _EPSILON, 1 - _EPSILON))
