"""``hydra/launcher=isolated``: every job of a sweep is a process group of its own, and fails alone."""
