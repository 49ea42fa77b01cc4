"""UADFV (Yang et al., ICASSP 2019): 49 real videos and one face swap of each.

The fake ``0000_fake.mp4`` was made from ``0000.mp4``, whose name serves as the identity of both. There is no official
split. The publisher sends the corpus on request; no page of the publisher that shows its content was found. Tree, names
and numbers were read in repositories that use it (github.com/SCLBD/DeepfakeBench,
github.com/dfwb-research/deepfake-workbench).
"""

import re
from pathlib import Path

from deepfake_ms.datasets.listing import list_videos
from deepfake_ms.datasets.published import Published
from deepfake_ms.datasets.source import Corpus, Layout, VideoFolder
from deepfake_ms.labels import CLASS_NAMES, FAKE, REAL

LAYOUT = Layout(
    "UADFV",
    """\
  real/NNNN.mp4        real
  fake/NNNN_fake.mp4   fake, made from real/NNNN.mp4""",
)
PUBLISHED = Published("UADFV", {"real": 49, "fake": 49}, according_to="the literature")

_FOLDERS = (
    VideoFolder("real", "real", CLASS_NAMES[REAL], "real", re.compile(r"(?P<target>.+)")),
    VideoFolder(
        "fake",
        "fake",
        CLASS_NAMES[FAKE],
        "uadfv_swap",
        re.compile(r"(?P<target>.+)_fake"),
        source_video="real/{target}",
    ),
)


def find_corpus(root: Path) -> Corpus:
    """The videos of both folders.

    Raises:
        UserError: the tree is different, or the name of a fake does not end in ``_fake``.
    """
    LAYOUT.require_folder(root)
    sources, listing = list_videos(root, _FOLDERS, LAYOUT)
    listing.ignore_all_but(root / folder.path for folder in _FOLDERS)
    notes = PUBLISHED.differences(root, sources)
    return Corpus(root, tuple(sources), ignored=listing.ignored, links=listing.links, notes=notes)
