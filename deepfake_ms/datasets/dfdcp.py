"""DFDCP, the preview of the DeepFake Detection Challenge (Dolhansky et al., 2019): actors, and swaps by two methods.

``dataset.json`` gives each clip's label, its ``set`` (``train`` or ``test``), the actor in it (``target_id``) and the
actor whose face a fake shows (``swapped_id``). The fake ``SWAPPED_TARGET_A_001.mp4`` was made from
``TARGET_A_001.mp4``.

The publisher distributes ``dfdc_preview_set.zip`` on ai.meta.com/datasets/dfdc to those who register; no page of the
publisher that shows its content was found. Tree, names and keys were read in repositories that use it
(github.com/mapooon/SelfBlendedImages, github.com/SCLBD/DeepfakeBench, github.com/dfwb-research/deepfake-workbench). The
numbers are those of DeepfakeBench's README and its issue 63; those in the paper could not be read.
"""

import re
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from deepfake_ms.datasets.dfdc import read_clips
from deepfake_ms.datasets.listing import UNLISTED, list_videos
from deepfake_ms.datasets.published import Published
from deepfake_ms.datasets.source import SPLIT_FOLDERS, Corpus, Layout, Source, VideoFolder, missing_names
from deepfake_ms.labels import CLASS_NAMES, FAKE, REAL

CLIP_LIST = "dataset.json"

LAYOUT = Layout(
    "DFDC's preview",
    f"""\
  original_videos/TARGET/TARGET_A_001.mp4                    real
  method_A/TARGET/TARGET_A/SWAPPED_TARGET_A_001.mp4          fake; method_B/ likewise
  {CLIP_LIST}   {{"method_A/...mp4": {{"label": "fake", "set": "train" or "test", "target_id", "swapped_id"}}, ...}}""",
)
PUBLISHED = Published("DFDC's preview", {"real": 1131, "fake": 4119, "test": 777}, according_to="DeepfakeBench")

_FOLDERS = {
    "original_videos": VideoFolder("original_videos", "original_videos", CLASS_NAMES[REAL], "real", re.compile(r".+")),
    **{
        f"method_{letter}": VideoFolder(
            f"method_{letter}",
            f"method_{letter}",
            CLASS_NAMES[FAKE],
            f"dfdcp_{letter}",
            re.compile(r"(\d+_)?(?P<clip>.+)"),
            source_video="original_videos/{clip}",
        )
        for letter in "AB"
    },
}


def find_corpus(root: Path) -> Corpus:
    """The clips that ``dataset.json`` lists. Their names identify them, in whichever subfolder they lie.

    Raises:
        UserError: the tree is different, or ``dataset.json`` is missing, unreadable or contradicts the folders.
    """
    LAYOUT.require_folder(root)
    names, entries = _read_list(root / CLIP_LIST)
    found, listing = list_videos(root, tuple(_FOLDERS.values()), LAYOUT, expected=(CLIP_LIST,))
    listing.ignore_all_but(root / name for name in _FOLDERS)
    for source in found:
        if source.video_id not in entries:
            listing.ignore(UNLISTED, source.path)
    sources = tuple(_add_entry(source, entries[source.video_id]) for source in found if source.video_id in entries)
    if not sources:
        raise LAYOUT.error(f"{root} has none of the {len(names)} clips that its {CLIP_LIST} lists")
    return Corpus(
        root,
        sources,
        missing_names(names, sources),
        ignored=listing.ignored,
        links=listing.links,
        notes=PUBLISHED.differences(root, sources),
    )


def _read_list(path: Path) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """Name and entry of each video id."""
    if not path.is_file():
        raise LAYOUT.error(f"{path} is missing")
    names, entries = {}, {}
    for name, entry in read_clips(path, LAYOUT).items():
        folder = _FOLDERS.get(name.split("/")[0])
        if (
            folder is None
            or not isinstance(entry, dict)
            or entry.get("label") != folder.label
            or str(entry.get("set")) not in SPLIT_FOLDERS
        ):
            raise LAYOUT.error(
                f"{path}: the entry of {name} needs the set train or test and the label of its folder, which is real "
                "for original_videos and fake for method_A and method_B"
            )
        video_id = f"{folder.name}/{PurePosixPath(name).stem}"
        names[video_id], entries[video_id] = name, entry
    return names, entries


def _add_entry(source: Source, entry: dict[str, Any]) -> Source:
    people = [entry.get(key) for key in ("target_id", "swapped_id")]
    return replace(
        source,
        identities=tuple(str(person) for person in people if person not in (None, "")),
        official_subset=SPLIT_FOLDERS[entry["set"]],
    )
