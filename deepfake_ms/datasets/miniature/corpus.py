"""Draw a miniature corpus to disk, in several processes; interrupted runs resume."""

import json
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import av
import cv2
import numpy as np
from filelock import FileLock

from deepfake_ms.datasets.miniature.camera import render_frame
from deepfake_ms.datasets.miniature.face import Face
from deepfake_ms.datasets.miniature.fakes import SwappedFace
from deepfake_ms.datasets.miniature.identity import invent_person
from deepfake_ms.datasets.miniature.plan import PlannedVideo, plan_corpus
from deepfake_ms.datasets.miniature.scene import Scene
from deepfake_ms.datasets.miniature.settings import MiniatureSettings
from deepfake_ms.datasets.source import CORPUS_NAME
from deepfake_ms.errors import UserError
from deepfake_ms.files import write_atomically
from deepfake_ms.randomness import key

GENERATOR_VERSION = 1
"""Increase it with every change that affects a pixel, so that no folder mixes two generators."""

UNFINISHED_NAME = f"{CORPUS_NAME}.unfinished"
"""The description of the corpus while it is being drawn; it becomes `CORPUS_NAME` when the corpus is complete."""
TEST_LIST_NAME = "List_of_testing_videos.txt"
LOCK_NAME = ".drawing.lock"
_GENERATOR = "deepfake_ms.datasets.miniature"

Progress = Callable[[int, int], None]


def draw_corpus(settings: MiniatureSettings, root: Path, workers: int, progress: Progress | None = None) -> Path:
    """Draw the corpus of `settings` into `root`, in Celeb-DF v2's layout.

    A complete corpus with the same settings is not drawn again, and an interrupted one is resumed. If several processes
    draw into the same folder, one draws and the others wait for it.

    Args:
        settings: what to draw.
        root: folder of the corpus; created if missing.
        workers: number of processes; 0 and 1 draw in the current process.
        progress: called with (finished videos, all videos) at the start and after each video.

    Returns:
        `root`.

    Raises:
        UserError: `root` contains a corpus with other settings or of another generator version, or other files.
    """
    description = describe_corpus(settings)
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / LOCK_NAME):
        _check_folder(root, description)
        videos = plan_corpus(settings)
        missing = [video for video in videos if not (root / video.name).is_file()]
        if not missing and (root / CORPUS_NAME).is_file():
            if progress:
                progress(len(videos), len(videos))
            return root
        write_atomically(root / UNFINISHED_NAME, description)
        write_atomically(root / TEST_LIST_NAME, _test_list(videos))
        for folder in sorted({(root / video.name).parent for video in videos}):
            folder.mkdir(exist_ok=True)
        done = len(videos) - len(missing)
        if progress:
            progress(done, len(videos))
        for drawn, _ in enumerate(_draw_all(missing, settings, root, workers), start=1):
            if progress:
                progress(done + drawn, len(videos))
        (root / UNFINISHED_NAME).replace(root / CORPUS_NAME)
    return root


def describe_corpus(settings: MiniatureSettings) -> str:
    """The content of `corpus.json`: the synthetic mark, the settings and the artefact strengths of each fake."""
    document = {
        "synthetic": True,
        "generator": _GENERATOR,
        "generator_version": GENERATOR_VERSION,
        "settings": asdict(settings),
        "fakes": {video.name: asdict(video.artefacts) for video in plan_corpus(settings) if video.is_fake},
    }
    return json.dumps(document, indent=1) + "\n"


def render_video(video: PlannedVideo, settings: MiniatureSettings) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The frames of `video` before encoding.

    Yields:
        A frame, RGB uint8 [size, size, 3], and the centres of the eyes in pixels (x, y), float64 [2, 2], first the eye
        on the left of the image.
    """
    face, scene = _face_and_scene(video, settings)
    for frame in range(settings.frames):
        yield render_frame(face, scene, frame, settings.fps)


def render_one(video: PlannedVideo, settings: MiniatureSettings, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Frame number `frame` of `video`, as `render_video` yields it."""
    return render_frame(*_face_and_scene(video, settings), frame, settings.fps)


def _face_and_scene(video: PlannedVideo, settings: MiniatureSettings) -> tuple[Face, Scene]:
    face = _face_of(settings.seed, video.target)
    if video.donor is not None:
        random = np.random.default_rng(key("miniature fake", settings.seed, video.name))
        face = SwappedFace(face, invent_person(settings.seed, video.donor), video.artefacts, random)
    return face, Scene(key("miniature scene", settings.seed, video.scene), settings.size)


@lru_cache(maxsize=8)
def _face_of(seed: int, name: str) -> Face:
    return Face(invent_person(seed, name))


def _draw_all(videos: list[PlannedVideo], settings: MiniatureSettings, root: Path, workers: int) -> Iterator[None]:
    if workers < 2 or len(videos) < 2:
        for video in videos:
            yield _draw_video(video, settings, root)
        return
    # Spawn, because a fork would copy the locks of threads that the parent may run (OpenCV's, PyTorch's).
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        drawings = [pool.submit(_draw_video, video, settings, root) for video in videos]
        try:
            for drawing in as_completed(drawings):
                yield drawing.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _draw_video(video: PlannedVideo, settings: MiniatureSettings, root: Path) -> None:
    encoded = BytesIO()
    with av.open(encoded, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=settings.fps)
        stream.width = stream.height = settings.size
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(settings.crf), "preset": "veryfast"}
        stream.codec_context.thread_count = 1  # the number of threads changes the encoded bytes
        for pixels, _ in render_video(video, settings):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    write_atomically(root / video.name, encoded.getvalue())


def _test_list(videos: list[PlannedVideo]) -> str:
    """Test list in the format of Celeb-DF v2, where 1 means real and 0 fake."""
    return "".join(f"{int(not video.is_fake)} {video.name}\n" for video in videos if video.official_test)


def _check_folder(root: Path, description: str) -> None:
    names = [name for name in (CORPUS_NAME, UNFINISHED_NAME) if (root / name).is_file()]
    if not names:
        if any(entry.name != LOCK_NAME for entry in root.iterdir()):
            raise UserError(
                f"{root} contains files but no miniature corpus: set data.root to a new or empty folder to draw into."
            )
    elif not _is_ours(found := (root / names[0]).read_text(encoding="utf-8", errors="replace")):
        raise UserError(
            f"{root / names[0]} does not describe a miniature corpus: set data.root to a new or empty folder to draw "
            "into."
        )
    elif found != description:
        raise UserError(
            f"{root} contains a miniature corpus with other settings or of another generator version "
            f"(see {names[0]}): set data.root to another folder, or delete this one to draw it again."
        )


def _is_ours(description: str) -> bool:
    try:
        return json.loads(description)["generator"] == _GENERATOR
    except (ValueError, TypeError, KeyError):
        return False
