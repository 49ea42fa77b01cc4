"""Trained detectors on other corpora and on degraded faces."""
