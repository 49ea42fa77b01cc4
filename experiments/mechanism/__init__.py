"""Do detectors only look at the eyes? A study on a drawn corpus."""
