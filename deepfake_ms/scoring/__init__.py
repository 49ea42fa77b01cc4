"""Pure functions of predictions: metrics, thresholds and confidence intervals."""
