"""The miniature: a corpus of drawn people and swapped faces in Celeb-DF v2's layout.

It needs no download, takes about a minute to draw and goes through the same steps as a real corpus: H.264 decoding,
face detection, training. It replaces a real corpus in tests and examples; results on it hold for drawings only.
"""

from deepfake_ms.datasets.miniature.corpus import draw_corpus, render_video
from deepfake_ms.datasets.miniature.plan import PlannedVideo, plan_corpus
from deepfake_ms.datasets.miniature.settings import ArtefactStrengths, MiniatureSettings

__all__ = ["ArtefactStrengths", "MiniatureSettings", "PlannedVideo", "draw_corpus", "plan_corpus", "render_video"]
