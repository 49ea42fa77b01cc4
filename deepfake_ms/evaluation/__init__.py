"""A finished run on a test set: predictions, thresholds and scores."""
