"""Metrics, thresholds and confidence intervals as pure functions of predictions."""
