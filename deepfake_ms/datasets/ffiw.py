"""FFIW-10K (Zhou et al., CVPR 2021): videos of several people, and the same videos with one face swapped.

The folders give the official split. A video's name serves as its identity, so that a fake and the real video of the
same name always fall into the same subset. People are not identified.

The README of github.com/tfzhou/FFIW gives the tree, with ``train`` and ``val``, and 10,000 fakes in total. It does not
give the tree of the test set, which is a download of its own, nor the numbers per subset, nor that a fake has the name
of its real video. These could not be verified; they were read in other repositories: 8,000, 250 and 1,738 videos per
class for training, validation and test (github.com/dfwb-research/deepfake-workbench), and scripts that crop real and
fake videos of one name at the same places.

Often only one of several faces is swapped. ``target_mask`` shows which, but the masks are not read.
"""

import re
from dataclasses import replace
from pathlib import Path

from deepfake_ms.datasets.listing import list_videos
from deepfake_ms.datasets.published import Published
from deepfake_ms.datasets.source import SPLIT_FOLDERS, Corpus, Layout, VideoFolder
from deepfake_ms.labels import CLASS_NAMES, FAKE, REAL

LAYOUT = Layout(
    "FFIW-10K",
    """\
  source/SUBSET/VIDEO.mp4   real
  target/SUBSET/VIDEO.mp4   fake, made from source/SUBSET/VIDEO.mp4
with SUBSET train, val, test; some of them suffice""",
)
VIDEOS = {"train": 16_000, "validation": 500, "test": 3476}


def find_corpus(root: Path) -> Corpus:
    """The videos of all subsets in `root`.

    Raises:
        UserError: the tree is different, or ``source`` and ``target`` do not have the same subsets.
    """
    LAYOUT.require_folder(root)
    subsets = {
        subset: SPLIT_FOLDERS[subset]
        for subset in ("train", "val", "test")
        if any((root / side / subset).is_dir() for side in ("source", "target"))
    }
    if not subsets:
        raise LAYOUT.error(f"{root} has none of the folders train, val and test in source/ and target/")
    folders = [folder for subset in subsets for folder in _folders(subset)]
    found, listing = list_videos(root, folders, LAYOUT)
    listing.ignore_all_but(root / folder.path for folder in folders)
    sources = tuple(replace(source, official_subset=subsets[source.video_id.split("/")[1]]) for source in found)
    published = Published("FFIW-10K", {name: VIDEOS[name] for name in subsets.values()}, according_to="the literature")
    notes = published.differences(root, sources)
    return Corpus(root, sources, ignored=listing.ignored, links=listing.links, notes=notes)


def _folders(subset: str) -> tuple[VideoFolder, VideoFolder]:
    real, fake, name = f"source/{subset}", f"target/{subset}", re.compile(r"(?P<target>.+)")
    identity = f"{subset}/{{}}"
    return (
        VideoFolder(real, real, CLASS_NAMES[REAL], "real", name, identity),
        VideoFolder(fake, fake, CLASS_NAMES[FAKE], "ffiw_swap", name, identity, source_video=f"{real}/{{target}}"),
    )
