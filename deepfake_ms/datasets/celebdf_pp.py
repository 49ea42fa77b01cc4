"""Celeb-DF++ (Li et al., 2025): the real videos of Celeb-DF v2, and fakes by 22 methods in three families.

Families are face swaps, face reenactments and talking faces. One method is Celeb-DF's own swap, with its 5,639 fakes.

The README of github.com/OUC-VAS/Celeb-DF-PP gives the tree and the numbers of test videos: 178 real, and 200 fake per
method, 300 for talking faces. It does not give the number of all fakes, 53,196, nor their names, ``idA_idB_NNNN`` for
swaps and reenactments and ``idA_NNNN_test_MMMM`` for talking faces: these were read in another repository
(github.com/dfwb-research/deepfake-workbench) and could not be verified. Neither could the real video that a reenactment
or a talking face was made from, so these have no source video. The README calls the folder of Celeb-DF's own swaps
``Celeb-DF``, the authors' scripts call it ``Celeb-DF-v2``.
"""

import re
from pathlib import Path

from deepfake_ms.datasets.celebdf import REAL_FOLDERS, SWAPS, TEST_LIST, read_corpus
from deepfake_ms.datasets.published import Published
from deepfake_ms.datasets.source import Corpus, Layout, VideoFolder
from deepfake_ms.labels import CLASS_NAMES, FAKE

METHODS = {
    "FaceSwap": ("BlendFace", "GHOST", "HifiFace", "InSwapper", "MobileFaceSwap", "SimSwap", "UniFace"),
    "FaceReenact": ("DaGAN", "FSRT", "HyperReenact", "LIA", "LivePortrait", "MCNET", "TPSMM"),
    "TalkingFace": ("AniTalker", "EchoMimic", "EDTalk", "FLOAT", "IP_LAP", "Real3DPortrait", "SadTalker"),
}

LAYOUT = Layout(
    "Celeb-DF++",
    f"""\
  Celeb-real/idA_NNNN.mp4  YouTube-real/NNNNN.mp4             real
  Celeb-synthesis/FaceSwap/METHOD/idA_idB_NNNN.mp4            fake; METHOD Celeb-DF, {", ".join(METHODS["FaceSwap"])}
  Celeb-synthesis/FaceReenact/METHOD/idA_idB_NNNN.mp4         fake; METHOD {", ".join(METHODS["FaceReenact"])}
  Celeb-synthesis/TalkingFace/METHOD/idA_NNNN_test_MMMM.mp4   fake; METHOD {", ".join(METHODS["TalkingFace"])}
  {TEST_LIST}                                  one "1 FOLDER/VIDEO.mp4" (real) or "0 ..." (fake) per line""",
)
PUBLISHED = Published("Celeb-DF++", {"real": 890, "fake": 53196, "test": 5278}, according_to="the literature")


def _fakes(family: str, folder: str, method: str) -> VideoFolder:
    return VideoFolder(
        f"Celeb-synthesis/{family}/{folder}",
        f"Celeb-synthesis/{family}/{method}",
        CLASS_NAMES[FAKE],
        method,
        re.compile(r"(?P<target>id\d+)_\d+.*") if family == "TalkingFace" else SWAPS.stem,
        source_video=SWAPS.source_video if family == "FaceSwap" else None,
    )


_FAKE_FOLDERS = (
    *(_fakes("FaceSwap", folder, "Celeb-DF") for folder in ("Celeb-DF", "Celeb-DF-v2")),
    *(_fakes(family, method, method) for family, methods in METHODS.items() for method in methods),
)


def find_corpus(root: Path) -> Corpus:
    """The videos of all methods in `root`. Videos in the test list get the official subset ``test``, the others none.

    The test videos of methods that are not in `root` are missing.

    Raises:
        UserError: the root, a real folder, all methods or the test list are missing or empty, a video's name does not
            give its identities, or the list cannot be read or contradicts the folders.
    """
    LAYOUT.require_folder(root)
    present = [folder for folder in _FAKE_FOLDERS if (root / folder.path).is_dir()]
    if not present:
        raise LAYOUT.error(f"{root} has no method of Celeb-DF++ in Celeb-synthesis/")
    absent = [folder for folder in _FAKE_FOLDERS if folder not in present]
    return read_corpus(root, (*REAL_FOLDERS, *present), LAYOUT, (PUBLISHED,), absent)
