"""Fixtures for the trees of corpora, which are made of empty files: `find_corpus` opens no video."""

import pytest


@pytest.fixture
def touch(tmp_path):
    """Makes empty files below the test's own folder, and returns the folder."""

    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    return make


@pytest.fixture
def describe():
    """Describes a corpus: video id → label, method, identities, source video, official subset."""
    return lambda corpus: {
        s.video_id: (s.label, s.method, s.identities, s.source_video, s.official_subset) for s in corpus.sources
    }
