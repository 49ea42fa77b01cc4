"""DeepFakeDetection (Google and Jigsaw, 2019): 363 scenes with 28 paid actors and 3,068 face swaps between them.

It is distributed with FaceForensics++, in the same tree. A fake ``01_02__SCENE__ID.mp4`` shows actor 01 (target), in
the real video ``01__SCENE.mp4``, with the face of actor 02 (donor). There is no official split.
"""

import re
from pathlib import Path

from deepfake_ms.datasets.faceforensics import require_videos
from deepfake_ms.datasets.listing import list_videos
from deepfake_ms.datasets.published import Published
from deepfake_ms.datasets.source import Corpus, Layout, VideoFolder
from deepfake_ms.labels import CLASS_NAMES, FAKE, REAL

LAYOUT = Layout(
    "DeepFakeDetection",
    """\
  original_sequences/actors/COMPRESSION/videos/AA__SCENE.mp4                         real
  manipulated_sequences/DeepFakeDetection/COMPRESSION/videos/AA_BB__SCENE__ID.mp4    fake: target AA, donor BB
with COMPRESSION c0 (or raw), c23, c40""",
)
PUBLISHED = Published("DeepFakeDetection", {"real": 363, "fake": 3068})


def find_corpus(root: Path, compression: str = "c23") -> Corpus:
    """The real and the fake videos in one compression.

    Args:
        root: the folder given to FaceForensics++'s download script.
        compression: ``c0``, ``c23`` or ``c40``, as in `deepfake_ms.datasets.faceforensics`.

    Raises:
        UserError: the tree is different, it lacks this compression, or a video's name does not give its identities.
    """
    LAYOUT.require_folder(root)
    originals = require_videos(root, "original_sequences/actors", compression, LAYOUT)
    swaps = require_videos(root, "manipulated_sequences/DeepFakeDetection", compression, LAYOUT)
    folders = (
        VideoFolder(originals, "actors", CLASS_NAMES[REAL], "real", re.compile(r"(?P<target>\d+)__.+")),
        VideoFolder(
            swaps,
            "DeepFakeDetection",
            CLASS_NAMES[FAKE],
            "DeepFakeDetection",
            re.compile(r"(?P<target>\d+)_(?P<donor>\d+)__(?P<scene>.+?)(?:__[^_]+)?"),
            source_video="actors/{target}__{scene}",
        ),
    )
    sources, listing = list_videos(root, folders, LAYOUT)
    notes = PUBLISHED.differences(root, sources)
    return Corpus(root, tuple(sources), ignored=listing.ignored, links=listing.links, notes=notes)
