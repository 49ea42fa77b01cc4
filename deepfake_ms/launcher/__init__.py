"""``hydra/launcher=isolated``: runs each job of a sweep in its own process group, so that failures stay isolated."""
