"""Extract faces in several processes with one thread each."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import cv2
import torch

from deepfake_ms.datasets import Source
from deepfake_ms.errors import UserError
from deepfake_ms.preprocessing.extract import extract_faces
from deepfake_ms.preprocessing.faces import FaceDetector
from deepfake_ms.preprocessing.settings import PreparationSettings


def extract_videos(
    videos: Sequence[Sequence[Source]],
    folder: Path,
    settings: PreparationSettings,
    make_detector: Callable[[], FaceDetector],
    workers: int,
) -> Iterator[dict[str, Any]]:
    """Call `extract_faces` for every video and yield the records in order of completion.

    Args:
        videos: the files of each video.
        folder: the prepared folder.
        settings: preparation settings.
        make_detector: called once per worker; must be a module-level function or class.
        workers: number of worker processes; 0 works in the current process.

    Raises:
        UserError: a worker process dies, or a crop or a record cannot be written.
    """
    if workers == 0:
        yield from _extract_here(videos, folder, settings, make_detector)
        return
    # Spawn, because a fork after torch has started its threads can hang.
    pool = ProcessPoolExecutor(
        min(workers, max(1, len(videos))),
        mp_context=get_context("spawn"),
        initializer=_start_worker,
        initargs=(folder, settings, make_detector),
    )
    try:
        # Largest first, so that no worker is busy with a large video after the others have finished.
        ordered = sorted(videos, key=lambda files: -sum(_size(source.path) for source in files))
        for future in as_completed([pool.submit(_extract_in_worker, files) for files in ordered]):
            yield future.result()
    except BrokenProcessPool as error:
        raise UserError(
            "A worker process died, perhaps for lack of memory: rerun the same command with fewer workers; it resumes "
            "where it stopped."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # the file will be quarantined


def _extract_here(
    videos: Sequence[Sequence[Source]],
    folder: Path,
    settings: PreparationSettings,
    make_detector: Callable[[], FaceDetector],
) -> Iterator[dict[str, Any]]:
    with one_thread():
        detector = make_detector()
        for files in videos:
            yield extract_faces(files, folder, settings, detector)


_worker_extract: Callable[[Sequence[Source]], dict[str, Any]]
"""Set once per worker process, so that each builds its detector only once."""


def _start_worker(folder: Path, settings: PreparationSettings, make_detector: Callable[[], FaceDetector]) -> None:
    global _worker_extract
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    _worker_extract = partial(extract_faces, folder=folder, settings=settings, detector=make_detector())


def _exit_with_parent() -> None:
    """Exit when the parent dies: otherwise the workers of a killed run would write beside the run that resumes it."""
    parent_process().join()
    os._exit(1)


def _extract_in_worker(files: Sequence[Source]) -> dict[str, Any]:
    return _worker_extract(files)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread, as in a worker, so that results never depend on how sums are split over threads."""
    torch_threads, cv2_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(torch_threads)
        cv2.setNumThreads(cv2_threads)
