"""WildDeepfake (Zi et al., ACM Multimedia 2020): 7,314 sequences of face crops from 707 videos on the internet.

It is distributed as archives ``N.tar.gz`` of images in four folders, which give label and official split. A folder of
images is a sequence, and an image's name is its frame number. Who is shown is unknown. An archive's number serves as
the identity, so that its sequences always fall into the same subset.

The README of github.com/OpenTAI/wild-deepfake gives the four folders (as ``real train``; scripts that read the corpus
have ``real_train``), the archives and the totals. It does not give the folders inside an archive, nor the numbers per
class and subset. These could not be verified; they were read in github.com/dfwb-research/deepfake-workbench: 3,805 real
and 3,509 fake sequences, which add up to the README's total, and 806 test sequences.
"""

from pathlib import Path, PurePosixPath

from deepfake_ms.datasets.grouping import group_images
from deepfake_ms.datasets.listing import Listing
from deepfake_ms.datasets.published import Published
from deepfake_ms.datasets.source import Corpus, Layout, Source, media_of, portable, refuse_shared_ids
from deepfake_ms.labels import CLASS_NAMES, REAL

LAYOUT = Layout(
    "WildDeepfake",
    """\
  real_train/N/real/SEQUENCE/FRAME.png   real_test/N/real/SEQUENCE/FRAME.png
  fake_train/N/fake/SEQUENCE/FRAME.png   fake_test/N/fake/SEQUENCE/FRAME.png
each the content of the archives N.tar.gz; some of the four folders suffice""",
)
PUBLISHED = Published(
    "WildDeepfake", {"real": 3805, "fake": 3509, "test": 806}, according_to="the literature", unit="sequences"
)

_FOLDERS = {f"{label}_{subset}": (label, subset) for label in CLASS_NAMES for subset in ("train", "test")}


def find_corpus(root: Path) -> Corpus:
    """The sequences in the four folders, or in those of them that are in `root`.

    Raises:
        UserError: the tree is different, a folder has no images, or two images claim the same frame of a sequence.
    """
    LAYOUT.require_folder(root)
    folders = [path for path in sorted(root.iterdir()) if path.is_dir() and _key(path) in _FOLDERS]
    if not folders:
        raise LAYOUT.error(f"{root} has none of the folders {', '.join(_FOLDERS)}")
    listing = Listing(root)
    images = []
    for folder, paths in zip(folders, listing.media(folders), strict=True):
        images += (found := [path for path in paths if media_of(path) == "image"])
        if not found:
            raise LAYOUT.error(f"{folder} has no images: unpack its archives into it")
    listing.ignore_all_but(folders)
    names = [PurePosixPath(portable(path.relative_to(root))) for path in images]
    numbered, grouping = group_images(names)
    sources = tuple(_source(*each) for each in zip(images, names, numbered, strict=True))
    refuse_shared_ids(sources, "remove one of")
    return Corpus(
        root,
        sources,
        ignored=listing.ignored,
        links=listing.links,
        grouping=grouping,
        notes=PUBLISHED.differences(root, sources),
    )


def _key(folder: Path | PurePosixPath) -> str:
    return folder.name.replace(" ", "_")


def _source(path: Path, name: PurePosixPath, numbered: tuple[str, int]) -> Source:
    folder, archive = name.parts[:2]
    label, subset = _FOLDERS[_key(PurePosixPath(folder))]
    video_id, frame_index = numbered
    return Source(
        path=path,
        name=str(name),
        video_id=video_id,
        label=label,
        method="real" if label == CLASS_NAMES[REAL] else "wilddeepfake",
        identities=(f"{folder}/{archive}",),
        source_video=None,
        official_subset=subset,
        media="image",
        frame_index=frame_index,
    )
