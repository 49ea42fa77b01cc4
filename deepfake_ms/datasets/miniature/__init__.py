"""The miniature: a corpus of drawn people and swapped faces in Celeb-DF-v2's layout.

It needs no download, is drawn in about a minute and passes through the same steps as a real corpus: H.264 decoding,
face detection, training. It stands in for one in tests and examples, and its results are results on drawings only.
"""

from deepfake_ms.datasets.miniature.corpus import draw_corpus, render_video
from deepfake_ms.datasets.miniature.plan import PlannedVideo, plan_corpus
from deepfake_ms.datasets.miniature.settings import ArtefactStrengths, MiniatureSettings

__all__ = ["ArtefactStrengths", "MiniatureSettings", "PlannedVideo", "draw_corpus", "plan_corpus", "render_video"]
