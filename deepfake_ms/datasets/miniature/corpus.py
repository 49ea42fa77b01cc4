"""Drawing a miniature corpus to disk, over several processes and over interruptions."""

import fcntl
import json
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

import av
import cv2
import numpy as np

from deepfake_ms.datasets.miniature.camera import take_frame
from deepfake_ms.datasets.miniature.face import Face
from deepfake_ms.datasets.miniature.fakes import SwappedFace
from deepfake_ms.datasets.miniature.identity import invent_person
from deepfake_ms.datasets.miniature.plan import PlannedVideo, plan_corpus
from deepfake_ms.datasets.miniature.scene import Scene
from deepfake_ms.datasets.miniature.settings import MiniatureSettings
from deepfake_ms.errors import UserError
from deepfake_ms.randomness import key

GENERATOR_VERSION = 1
"""To be raised with every change that changes a pixel, so that no folder mixes two generators."""

CORPUS_NAME = "corpus.json"
"""Says what was drawn; there once the corpus is complete."""
UNFINISHED_NAME = "corpus.json.unfinished"
"""The same while it is being drawn."""
TEST_LIST_NAME = "List_of_testing_videos.txt"
LOCK_NAME = ".drawing.lock"

Progress = Callable[[int, int], None]


def draw_corpus(settings: MiniatureSettings, root: Path, workers: int, progress: Progress | None = None) -> Path:
    """Draw the corpus of `settings` into `root`, in Celeb-DF-v2's layout.

    A complete corpus of the same settings is left as it is, an interrupted one is continued. Of several processes that
    draw into one folder, one draws and the others wait for it.

    Args:
        settings: what to draw.
        root: folder of the corpus; made if missing.
        workers: processes to draw with; 1 draws in this one.
        progress: called with (videos there, videos in all) at the start and after every video.

    Returns:
        `root`.

    Raises:
        UserError: `root` holds a corpus of another settings or generator version, or something else altogether.
    """
    description = describe_corpus(settings)
    root.mkdir(parents=True, exist_ok=True)
    with _only_process_in(root):
        _check_folder(root, description)
        videos = plan_corpus(settings)
        missing = [video for video in videos if not (root / video.name).is_file()]
        if not missing and (root / CORPUS_NAME).is_file():
            if progress:
                progress(len(videos), len(videos))
            return root
        _write_text(root / UNFINISHED_NAME, description)
        _write_text(root / TEST_LIST_NAME, _test_list(videos))
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
    """The text of `corpus.json`: that it is synthetic, what it was drawn from and each fake's artefact strengths."""
    document = {
        "synthetic": True,
        "generator": "deepfake_ms.datasets.miniature",
        "generator_version": GENERATOR_VERSION,
        "settings": asdict(settings),
        "fakes": {video.name: asdict(video.artefacts) for video in plan_corpus(settings) if video.is_fake},
    }
    return json.dumps(document, indent=1) + "\n"


def render_video(video: PlannedVideo, settings: MiniatureSettings) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The frames of `video` before encoding.

    Yields:
        A frame, [size, size, 3] uint8 RGB, and the centres of the eyes, [2, 2] float64 pixels (x, y), the one on the
        left of the image first.
    """
    face = _face_of(settings.seed, video.target)
    if video.donor is not None:
        random = np.random.default_rng(key("miniature fake", settings.seed, video.name))
        face = SwappedFace(face, invent_person(settings.seed, video.donor), video.artefacts, random)
    scene = Scene(key("miniature scene", settings.seed, video.scene), settings.size)
    for frame in range(settings.frames):
        yield take_frame(face, scene, frame, settings.fps)


@lru_cache(maxsize=8)
def _face_of(seed: int, name: str) -> Face:
    return Face(invent_person(seed, name))


def _draw_all(videos: list[PlannedVideo], settings: MiniatureSettings, root: Path, workers: int) -> Iterator[None]:
    if workers == 1 or len(videos) < 2:
        for video in videos:
            yield _draw_video(video, settings, root)
        return
    # spawned, not forked: the parent may run threads (OpenCV's, PyTorch's), whose locks a fork would copy
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
    path = root / video.name
    part = path.with_name(path.name + ".part")
    with av.open(str(part), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=settings.fps)
        stream.width = stream.height = settings.size
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(settings.crf), "preset": "veryfast"}
        stream.codec_context.thread_count = 1  # the encoding depends on the number of threads
        for pixels, _ in render_video(video, settings):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    part.replace(path)


def _test_list(videos: list[PlannedVideo]) -> str:
    """Celeb-DF-v2's test list, in which 1 means real and 0 fake."""
    return "".join(f"{int(not video.is_fake)} {video.name}\n" for video in videos if video.official_test)


def _check_folder(root: Path, description: str) -> None:
    described = next((root / name for name in (CORPUS_NAME, UNFINISHED_NAME) if (root / name).is_file()), None)
    if described is None:
        if any(entry.name != LOCK_NAME for entry in root.iterdir()):
            raise UserError(
                f"{root} holds files that are no miniature corpus: name a new or empty folder to draw into."
            )
    elif described.read_text() != description:
        raise UserError(
            f"{root} holds a miniature corpus drawn from another settings or generator version "
            f"(see {described.name}): name another folder, or delete this one to draw it again."
        )


def _write_text(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)


@contextmanager
def _only_process_in(root: Path) -> Iterator[None]:
    """Wait until no other process draws into `root`; a killed one's lock is gone with it."""
    with (root / LOCK_NAME).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
