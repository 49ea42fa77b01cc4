"""Cross-validation on a handful of real face crops."""
