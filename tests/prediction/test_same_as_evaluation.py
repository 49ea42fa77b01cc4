"""A video that is predicted gives the same crops as its preparation and the same scores as its evaluation."""

import hashlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tiny_run
from rich.console import Console

from deepfake_ms.data.prepared_faces import PreparedFaces
from deepfake_ms.datasets import find_corpus
from deepfake_ms.datasets.miniature import MiniatureSettings, draw_corpus
from deepfake_ms.evaluation.predictions import read_predictions
from deepfake_ms.evaluation.scores import evaluate
from deepfake_ms.evaluation.test_set import TestSet
from deepfake_ms.prediction.detector import TrainedDetector
from deepfake_ms.prediction.files import predict_file
from deepfake_ms.preprocessing.crops import encode_crop
from deepfake_ms.preprocessing.prepare import prepare_corpus
from deepfake_ms.preprocessing.settings import PreparationSettings


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A few drawn videos."""
    settings = MiniatureSettings(
        identities=4, cast_size=2, videos_per_identity=1, youtube_people=1, fakes=2, seconds=2.0
    )
    return draw_corpus(settings, tmp_path_factory.mktemp("drawn") / "corpus", 0)


@pytest.mark.parametrize("settings", [PreparationSettings(), PreparationSettings(fps=None, frames=4, face="tracked")])
def test_same_crops_and_scores(corpus, trained, loaded, tmp_path, settings):
    run, _, _ = trained
    faces = PreparedFaces.read(prepare_corpus(find_corpus("celebdf", corpus), "drawn", settings, tmp_path, 0))
    test_set = TestSet.of_corpus("drawn", faces, "all")
    evaluate(run, test_set, tiny_run.trainer(), Console(quiet=True))
    expected = faces.manifest.merge(read_predictions(run, test_set, "selected")[["sample_id", "fake_probability"]])
    videos = pd.read_csv(run.folder / "evaluation" / test_set.name / "selected" / "videos.csv").set_index("video_id")

    class Recorder(TrainedDetector):
        def probabilities(self, crops):
            recorded.extend(crops)
            return super().probabilities(crops)

    known = replace(loaded, preparation=settings)
    detector = Recorder(**{name: getattr(known, name) for name in known.__dataclass_fields__})
    assert expected["source"].nunique() == 7
    for source, rows in expected.groupby("source"):
        recorded = []
        prediction = predict_file(detector, corpus / source)
        (track,) = prediction.tracks
        assert [face.frame for face in track.faces] == rows["frame_index"].tolist()
        hashes = [hashlib.sha256(encode_crop(crop.transpose(1, 2, 0))).hexdigest() for crop in recorded]
        assert hashes == rows["sha256"].tolist()
        assert np.abs(np.array([face.raw for face in track.faces]) - rows["fake_probability"]).max() < 1e-6
        video = videos.loc[rows["video_id"].iloc[0]]
        assert track.raw == pytest.approx(video["fake_probability"], abs=1e-6)
        assert prediction.subject == pytest.approx(video["fake_probability"], abs=1e-6)
        assert track.probability == pytest.approx(video["calibrated_fake_probability"], abs=1e-6)
        assert ("real", "fake")[track.is_fake] == video["decision"]
