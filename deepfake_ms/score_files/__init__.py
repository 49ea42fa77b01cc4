"""Scores of any detector as files: one contract, importers, and which scores of several files belong together."""
