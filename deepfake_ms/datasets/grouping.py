"""Grouping of still images into videos: by their names, or by a pattern given by the user."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from deepfake_ms.datasets.source import SPLIT_FOLDERS, file_id
from deepfake_ms.errors import UserError
from deepfake_ms.labels import CLASS_NAMES

BY_FOLDER = "numbered images in a folder of their own: the folder is the video"
BY_NAME = "images named VIDEO_12: frame 12 of VIDEO"
ALONE = "all other images: each is a video of its own"
BY_PATTERN = "images that match video_pattern"
NO_MATCH = "images that do not match video_pattern: each is a video of its own"
_SINGLE = (ALONE, NO_MATCH)

_FRAME_WORDS = frozenset({"frame", "frames"})
# fmt: off
_PHOTO_WORDS = frozenset({
    "crop", "deepfake", "dsc", "dscf", "dscn", "face", "fake", "fakes", "image", "images", "img", "original", "photo",
    "pic", "picture", "real", "reals", "sample",
})
# fmt: on
"""Words before a frame number that are not a video name: ``img_00012.jpg`` is image 12 of its folder."""

_MAX_DIGITS = 9
"""A longer number, such as a time stamp, could overflow the manifest's 32-bit frame index."""

_COUNTED = re.compile(r"(?P<word>[A-Za-z]*)[ _.-]?(?P<frame>\d+)")
_NAMED = re.compile(r"(?P<video>.+)[_-](?P<frame>\d{1,9})")
_WITH_FRAME = re.compile(r"(?P<video>.*?)[_ .-]*frames?[_ .-]?\(?(?P<frame>\d+)\)?(?P<rest>[^0-9a-z].*)?", re.I)


def group_images(
    paths: Sequence[PurePosixPath], video_pattern: str | None = None
) -> tuple[list[tuple[str, int]], list[dict[str, Any]]]:
    """Find the video and the frame number of every image.

    Without a pattern, the name decides:

    - A number (``0011.png``), perhaps after a word that names no video (``frame_0011.png``, ``img11.png``), is a frame
      of the *folder*: ``fake/000_003/0011.png`` is frame 11 of ``fake/000_003``. A class folder, a folder of a split
      (``train``, ``valid``, ...) and the corpus root are no videos: there, numbered images are unrelated photos, and
      each is a video of its own. Only ``frame_0011.png`` is a frame even there.
    - ``VIDEO_12.jpg`` or ``VIDEO-12.jpg`` is frame 12 of ``VIDEO`` in its folder, as in DFDC's
      ``FAKEVIDEO_ORIGINALVIDEO_FRAME.jpg``; so is ``VIDEO_frame12.jpg``. What follows the number of the frame, as in
      ``VIDEO_frame12_face0.jpg``, is no part of the video; these images are numbered in the order of their names.
    - Every other image is a video of its own. Its id is its path without suffix, or with it if another image has the
      same.

    Args:
        paths: of the images, relative to the corpus root (from `deepfake_ms.datasets.source.portable`).
        video_pattern: a regular expression for the whole relative path without its suffix. Its group ``video`` is the
            video's id, and its group ``frame``, if it has one, the frame number; otherwise the images of a video are
            numbered in the order of their names. An image that does not match is a video of its own.

    Returns:
        The video id and the frame number of each image; and for each rule that applied, in the order above, ``{"rule",
        "images", "videos", "example"}``.

    Raises:
        UserError: the pattern is invalid, has no group ``video``, matches no image, or gives a frame that is no number.
    """
    pattern = _compile(video_pattern) if video_pattern is not None else None
    found = [_by_name(path) if pattern is None else _by_pattern(path, pattern) for path in paths]
    if pattern is not None and paths and all(rule == NO_MATCH for rule, _, _ in found):
        raise UserError(
            f"data.options.video_pattern={video_pattern} matches none of the images, e.g. {paths[0].with_suffix('')}: "
            "it must match the whole path below the corpus root, without the suffix."
        )
    found = _separate(paths, found)
    numbered = _number(paths, found)
    return numbered, _summary(paths, [rule for rule, _, _ in found], numbered)


def _compile(video_pattern: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(video_pattern)
    except (re.error, TypeError) as error:
        raise UserError(f"data.options.video_pattern={video_pattern} is not a regular expression: {error}.") from error
    if "video" not in pattern.groupindex:
        raise UserError(
            f"data.options.video_pattern={video_pattern} has no group named video: write e.g. "
            r"'(?P<video>.+)_(?P<frame>\d+)', or '(?P<video>.+)' if every image is a video of its own."
        )
    return pattern


def _by_name(path: PurePosixPath) -> tuple[str, str, int | None]:
    """Rule, video id, and frame number or None."""
    folder = path.parent
    is_video = any(part.lower() not in {*CLASS_NAMES, *SPLIT_FOLDERS} for part in folder.parts)
    counted, named = _COUNTED.fullmatch(path.stem), _NAMED.fullmatch(path.stem)
    word = counted["word"].lower() if counted else None
    if counted and is_video and word in {"", *_FRAME_WORDS, *_PHOTO_WORDS}:
        return BY_FOLDER, folder.as_posix(), _frame(counted["frame"])
    if counted and word in _FRAME_WORDS:
        return BY_NAME, (folder / counted["word"]).as_posix(), _frame(counted["frame"])
    if framed := _WITH_FRAME.fullmatch(path.stem):
        video = folder / framed["video"] if framed["video"] else folder if is_video else folder / "frame"
        frame = None if framed["rest"] else _frame(framed["frame"])
        return BY_FOLDER if video == folder else BY_NAME, video.as_posix(), frame
    if named and word not in _PHOTO_WORDS:
        return BY_NAME, (folder / named["video"]).as_posix(), int(named["frame"])
    return ALONE, file_id(path), None


def _frame(digits: str) -> int | None:
    return int(digits) if len(digits) <= _MAX_DIGITS else None


def _by_pattern(path: PurePosixPath, pattern: re.Pattern[str]) -> tuple[str, str, int | None]:
    match = pattern.fullmatch(path.with_suffix("").as_posix())
    if match is None or not match["video"]:
        return NO_MATCH, file_id(path), None
    frame = match["frame"] if "frame" in pattern.groupindex else None
    if frame is not None and not re.fullmatch(r"\d{1,9}", frame):
        raise UserError(
            f"data.options.video_pattern: the group frame is {frame!r} in {path}, but it must be a number of at most "
            r"nine digits: write it as (?P<frame>\d{1,9}), or leave it out to number the images by their names."
        )
    return BY_PATTERN, match["video"], None if frame is None else int(frame)


def _separate(
    paths: Sequence[PurePosixPath], found: Sequence[tuple[str, str, int | None]]
) -> list[tuple[str, str, int | None]]:
    """Give images that are videos of their own an id that no other image has."""
    claims = Counter(video for rule, video, _ in found if rule in _SINGLE)
    claims.update({video for rule, video, _ in found if rule not in _SINGLE})
    return [
        (rule, str(path) if rule in _SINGLE and claims[video] > 1 else video, frame)
        for path, (rule, video, frame) in zip(paths, found, strict=True)
    ]


def _number(paths: Sequence[PurePosixPath], found: Sequence[tuple[str, str, int | None]]) -> list[tuple[str, int]]:
    """Number the images of videos without frame numbers in the order of their names."""
    unnumbered = {video for _, video, frame in found if frame is None}
    count = dict.fromkeys(unnumbered, 0)
    numbered: list[tuple[str, int]] = [("", 0)] * len(paths)
    for position in sorted(range(len(paths)), key=lambda position: paths[position]):
        _, video, frame = found[position]
        if video in unnumbered:
            frame = count[video]
            count[video] += 1
        numbered[position] = video, frame
    return numbered


def _summary(
    paths: Sequence[PurePosixPath], rules: Sequence[str], numbered: Sequence[tuple[str, int]]
) -> list[dict[str, Any]]:
    summary = []
    for rule in (BY_PATTERN, NO_MATCH, BY_FOLDER, BY_NAME, ALONE):
        images = [position for position, applied in enumerate(rules) if applied == rule]
        if images:
            video, frame = numbered[images[0]]
            summary.append(
                {
                    "rule": rule,
                    "images": len(images),
                    "videos": len({numbered[position][0] for position in images}),
                    "example": f"{paths[images[0]]}" + ("" if rule in _SINGLE else f" is frame {frame} of {video}"),
                }
            )
    return summary
