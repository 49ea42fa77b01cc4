"""A corpus to a prepared folder: crops, manifest and report; interrupted runs continue, finished ones are reused."""

import hashlib
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from itertools import groupby
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import cv2
import torch

from deepfake_ms.datasets import Corpus, Source
from deepfake_ms.errors import UserError
from deepfake_ms.files import sha256_of, write_json
from deepfake_ms.manifest import MANIFEST_NAME, write_manifest
from deepfake_ms.preprocessing.extract import extract_faces, record_path
from deepfake_ms.preprocessing.faces import FaceDetector, MTCNNDetector
from deepfake_ms.preprocessing.recipe import PrepareRecipe
from deepfake_ms.preprocessing.report import build_report

PREPARED_NAME = "prepared.json"
REPORT_NAME = "report.json"

_LIBRARIES = ("deepfake_ms", "av", "facenet-pytorch", "numpy", "opencv-python-headless", "pillow", "torch")


def prepare_corpus(
    corpus: Corpus,
    data_name: str,
    recipe: PrepareRecipe,
    prepared_root: Path,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
    make_detector: Callable[[], FaceDetector] = MTCNNDetector,
) -> Path:
    """Extract the faces of a corpus into ``PREPARED_ROOT/DATA_NAME-FINGERPRINT``.

    The fingerprint covers the recipe and every file's content, so the same input is prepared once: a complete folder
    is returned at once, an interrupted one is continued. Crops, manifest and report do not depend on `workers` or on
    interruptions. Files that cannot be read are listed in the report and left out.

    Args:
        corpus: from `deepfake_ms.datasets.find_corpus`.
        data_name: name of the data configuration.
        recipe: sampling, crop and confidence settings.
        prepared_root: the folder that holds all prepared folders.
        workers: processes to use; 0 works in this one.
        progress: called with (videos done, all videos) at the start and after each video.
        make_detector: called once in each worker; a module-level function or class.

    Returns:
        The prepared folder: manifest, `PREPARED_NAME`, `REPORT_NAME`, ``crops/`` and ``records/``.

    Raises:
        UserError: no file can be read, no face is found, or a worker process dies.
    """
    sources = corpus.sources
    fingerprint = fingerprint_corpus(sources, recipe)
    folder = Path(prepared_root) / f"{data_name}-{fingerprint}"
    description = {
        "data_name": data_name,
        "root": str(corpus.root.resolve()),
        "recipe": recipe.as_dict(),
        "fingerprint": fingerprint,
        "synthetic": corpus.synthetic,
        "versions": {name: version(name) for name in _LIBRARIES},
    }
    if (complete := _read_complete(folder / PREPARED_NAME)) is not None:
        # Written anew because the file's time tells `find_prepared` the last prepare, and the corpus may have moved.
        write_json(folder / PREPARED_NAME, complete | {"root": description["root"]})
        if progress is not None:
            progress(complete["counts"]["videos"], complete["counts"]["videos"])
        return folder
    write_json(folder / PREPARED_NAME, description | {"complete": False})

    videos = _group_by_video(sources)
    _extract_missing(videos, folder, recipe, workers, progress, make_detector)
    records = [json.loads(record_path(folder, video_id).read_text(encoding="utf-8")) for video_id in videos]
    report = build_report(data_name, records)
    write_json(folder / REPORT_NAME, report)
    _refuse_empty(report, folder)
    rows = [row for record in records for row in record["rows"]]
    write_manifest(rows, folder)
    for part in folder.rglob(".*.part"):  # of runs that were killed while writing
        part.unlink()
    counts = {"sources": len(sources), "videos": len(videos), "faces": len(rows)}
    write_json(folder / PREPARED_NAME, description | {"complete": True, "counts": counts})
    return folder


def find_prepared(prepared_root: Path, data_name: str, root: Path, recipe: PrepareRecipe) -> Path:
    """The complete prepared folder of a corpus, found without reading a video.

    If the corpus changed and was prepared more than once with this recipe, the last prepare counts.

    Raises:
        UserError: there is none; the message names the command that makes it.
    """
    wanted = {"data_name": data_name, "root": str(Path(root).resolve()), "recipe": recipe.as_dict()}
    candidates = [
        path
        for path in Path(prepared_root).glob(f"*/{PREPARED_NAME}")
        if (description := _read_complete(path)) is not None and wanted.items() <= description.items()
    ]
    if not candidates:
        raise UserError(
            f"No complete prepared faces of {data_name} ({root}) with this recipe in {prepared_root}: "
            f"run `python -m deepfake_ms.prepare data={data_name}` with the same settings first."
        )
    return max(candidates, key=lambda path: (path.stat().st_mtime_ns, path)).parent


def read_prepared(folder: Path) -> dict[str, Any]:
    """What a prepared folder says of itself: `data_name`, `fingerprint`, `recipe`, `synthetic`, `counts` and more."""
    return json.loads((folder / PREPARED_NAME).read_text(encoding="utf-8"))


def read_report(folder: Path) -> dict[str, Any]:
    """The counts of a prepared folder, as `build_report` made them."""
    return json.loads((folder / REPORT_NAME).read_text(encoding="utf-8"))


def fingerprint_corpus(sources: Sequence[Source], recipe: PrepareRecipe) -> str:
    """Twelve hexadecimal digits that stand for the recipe and all that the sources are: content, names and labels.

    Raises:
        UserError: a file cannot be opened.
    """
    digest = hashlib.sha256(json.dumps(recipe.as_dict(), sort_keys=True).encode())
    for source in sorted(sources, key=lambda source: source.name):
        try:
            content = sha256_of(source.path)
        except OSError as error:
            raise UserError(
                f"{source.path} cannot be opened ({error.strerror}): make it readable or remove it."
            ) from error
        facts = (source.name, source.video_id, source.label, source.method, source.identities, source.official_side)
        digest.update(
            json.dumps([*facts, source.media, source.frame_index, source.path.stat().st_size, content]).encode()
        )
    return digest.hexdigest()[:12]


def _read_complete(path: Path) -> dict[str, Any] | None:
    """The description of a prepared folder, or None unless it is complete."""
    if not path.is_file() or not path.with_name(MANIFEST_NAME).is_file():
        return None
    description = json.loads(path.read_text(encoding="utf-8"))
    return description if description["complete"] else None


def _group_by_video(sources: Sequence[Source]) -> dict[str, list[Source]]:
    ordered = sorted(sources, key=lambda source: (source.video_id, source.name))
    return {video_id: list(group) for video_id, group in groupby(ordered, key=lambda source: source.video_id)}


def _refuse_empty(report: dict[str, Any], folder: Path) -> None:
    counts = report["classes"].values()
    if not any(each["videos_read"] for each in counts):
        first = report["quarantined"][0]
        raise UserError(
            f"None of the corpus's files can be read, e.g. {first['source']} ({first['reason']}): "
            f"check the corpus root; all reasons are in {folder / REPORT_NAME}."
        )
    if not any(each["faces_kept"] for each in counts):
        raise UserError(
            f"No face was found in the whole corpus: check that its videos show faces, or lower min_probability; "
            f"the counts are in {folder / REPORT_NAME}."
        )


def _extract_missing(
    videos: dict[str, list[Source]],
    folder: Path,
    recipe: PrepareRecipe,
    workers: int,
    progress: Callable[[int, int], None] | None,
    make_detector: Callable[[], FaceDetector],
) -> None:
    """Extract every video that has no record yet."""
    missing = [group for video_id, group in videos.items() if not record_path(folder, video_id).is_file()]
    done = len(videos) - len(missing)
    finished = _extract_here if workers == 0 else partial(_extract_in_pool, workers=min(workers, len(missing)))
    if progress is not None:
        progress(done, len(videos))
    if not missing:
        return
    for _ in finished(missing, folder, recipe, make_detector):
        done += 1
        if progress is not None:
            progress(done, len(videos))


def _extract_here(
    groups: list[list[Source]], folder: Path, recipe: PrepareRecipe, make_detector: Callable[[], FaceDetector]
) -> Iterator[None]:
    with _one_thread():
        detector = make_detector()
        for group in groups:
            extract_faces(group, folder, recipe, detector)
            yield


def _extract_in_pool(
    groups: list[list[Source]],
    folder: Path,
    recipe: PrepareRecipe,
    make_detector: Callable[[], FaceDetector],
    workers: int,
) -> Iterator[None]:
    # Spawned, not forked: a fork after torch has started its threads can hang.
    pool = ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_start_worker, initargs=(folder, recipe, make_detector)
    )
    try:
        for future in as_completed([pool.submit(_extract_in_worker, group) for group in groups]):
            future.result()
            yield
    except BrokenProcessPool as error:
        raise UserError(
            "A prepare worker died, perhaps for lack of memory: run the same command again with fewer workers; "
            "it continues where it stopped."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_worker_extract: Callable[[list[Source]], None]
"""Set once in each worker process, so that the detector is built only once there."""


def _start_worker(folder: Path, recipe: PrepareRecipe, make_detector: Callable[[], FaceDetector]) -> None:
    global _worker_extract
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    _worker_extract = partial(extract_faces, folder=folder, recipe=recipe, detector=make_detector())


def _exit_with_parent() -> None:
    """A pool's workers outlive a killed parent, and would write while its successor continues."""
    parent_process().join()
    os._exit(1)


def _extract_in_worker(group: list[Source]) -> None:
    _worker_extract(group)


@contextmanager
def _one_thread() -> Iterator[None]:
    """As in a worker: results then never depend on how sums are split over threads."""
    torch_threads, cv2_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(torch_threads)
        cv2.setNumThreads(cv2_threads)
