"""Do detectors rely on the eyes? A study on a drawn corpus."""
