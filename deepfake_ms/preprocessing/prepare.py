"""Prepare a corpus: crops, manifest and report. Interrupted runs resume, and finished ones are reused."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

from deepfake_ms.datasets import Corpus, Source
from deepfake_ms.errors import UserError
from deepfake_ms.files import remove_abandoned, write_json
from deepfake_ms.manifest import write_manifest
from deepfake_ms.preprocessing.disk import explain_disk_errors
from deepfake_ms.preprocessing.extract import read_record, record_path
from deepfake_ms.preprocessing.faces import FaceDetector
from deepfake_ms.preprocessing.fingerprint import fingerprint_corpus, hash_contents
from deepfake_ms.preprocessing.mtcnn import MTCNNDetector
from deepfake_ms.preprocessing.prepared import (
    PREPARED_NAME,
    REPORT_NAME,
    describe_corpus_files,
    describe_request,
    read_complete,
    read_prepared,
    read_report,
)
from deepfake_ms.preprocessing.report import build_report, describe_corpus
from deepfake_ms.preprocessing.settings import PreparationSettings
from deepfake_ms.preprocessing.shards import Shard, lock_folder, lock_shard
from deepfake_ms.preprocessing.workers import extract_videos

WHOLE_CORPUS = Shard()
_LIBRARIES = (
    "deepfake_ms",
    "av",
    "facenet-pytorch",
    "imagehash",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "torch",
    "torchvision",
)


@dataclass(frozen=True)
class Progress:
    """Progress of the extraction."""

    videos_done: int
    """Videos extracted by this run or by earlier ones."""
    videos: int
    """All videos of this run's shard."""
    frames: int
    """Frames read by this run."""
    faces: int
    """Faces kept by this run."""


def prepare_corpus(
    corpus: Corpus,
    data_name: str,
    settings: PreparationSettings,
    prepared_root: Path,
    workers: int = 0,
    progress: Callable[[Progress], None] | None = None,
    make_detector: Callable[[], FaceDetector] = MTCNNDetector,
    shard: Shard = WHOLE_CORPUS,
    merge_only: bool = False,
    hashing: Callable[[int, int], None] | None = None,
) -> Path:
    """Extract the faces of a corpus into ``PREPARED_ROOT/DATA_NAME-FINGERPRINT``.

    The fingerprint covers the settings and every file's content, so the same input is prepared only once: a complete
    folder is returned immediately, an interrupted one is resumed. Crops, manifest and report do not depend on
    `workers`, shards or interruptions. Unreadable files are listed in the report and excluded. A run stopped by a full
    disk leaves no file that a later run would treat as complete.

    Args:
        corpus: from `deepfake_ms.datasets.find_corpus`.
        data_name: name of the data configuration.
        settings: preparation settings.
        prepared_root: the parent of all prepared folders.
        workers: number of worker processes; 0 works in the current process.
        progress: called at the start and after each video.
        make_detector: called once per worker; must be a module-level function or class.
        shard: extract only this part; the shard that finishes last writes the manifest.
        merge_only: extract nothing, only write the manifest.
        hashing: called with (files read, all files) while the fingerprint is computed.

    Returns:
        The prepared folder. It contains `PREPARED_NAME` and ``records/`` and, once all shards are done, the manifest,
        the report and all of ``crops/``.

    Raises:
        UserError: no file can be read, no face is found, a worker process dies, another process prepares the same, the
            folder was started with other library versions, something cannot be written, or with `merge_only` some
            videos are not prepared yet.
    """
    if not re.fullmatch(r"[^/\\\x00-\x1f]{1,100}", data_name) or data_name.startswith("."):
        raise UserError(f"data.name={data_name!r} cannot name a folder: choose a name without slashes.")
    prepared_root = Path(prepared_root)
    with explain_disk_errors(prepared_root):
        sources = corpus.sources
        cache = prepared_root / ".digests"
        contents = hash_contents(sources, cache, shard.start_index(len(sources)), workers, hashing)
        fingerprint = fingerprint_corpus(sources, settings, contents)
        folder = prepared_root / f"{data_name}-{fingerprint}"
        description = {
            **describe_request(data_name, corpus.options, settings),
            **describe_corpus_files(corpus),
            "fingerprint": fingerprint,
            "synthetic": corpus.synthetic,
            "versions": {name: version(name) for name in _LIBRARIES},
        }
        videos = _group_by_video(sources)
        mine = [] if merge_only else shard.share_of(list(videos))
        if (complete := read_complete(folder)) is not None:
            if progress is not None:
                progress(Progress(len(mine), len(mine), 0, 0))
            with lock_folder(prepared_root, folder.name):
                # The corpus may have moved, and other files beside its videos may have come or gone.
                write_json(folder / REPORT_NAME, read_report(folder) | describe_corpus(corpus))
                write_json(folder / PREPARED_NAME, complete | describe_corpus_files(corpus) | {"prepared_at": _now()})
            return folder
        with lock_shard(prepared_root, folder.name, shard):
            with lock_folder(prepared_root, folder.name):
                _start_folder(folder, description)
            _extract_missing(
                [videos[video_id] for video_id in mine], folder, settings, workers, progress, make_detector
            )
            if not (missing := unprepared_videos(corpus, folder)):
                with lock_folder(prepared_root, folder.name):
                    if read_complete(folder) is None:  # a shard that finished at the same time may have written it
                        _finish(corpus, list(videos), folder, description)
            elif merge_only:
                raise UserError(
                    f"{folder} cannot be merged yet: {len(missing)} of {len(videos)} videos are not prepared, "
                    f"e.g. {missing[0]}; run the missing shards."
                )
        return folder


def _now() -> str:
    """The time in UTC as text whose alphabetical order is the order in time, on all machines."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def unprepared_videos(corpus: Corpus, folder: Path) -> list[str]:
    """The sorted ids of the corpus's videos that are not yet prepared in `folder`."""
    return [video_id for video_id in _group_by_video(corpus.sources) if not record_path(folder, video_id).is_file()]


def _start_folder(folder: Path, description: dict[str, Any]) -> None:
    """Start the folder, or check that it was started with the same library versions; remove what a kill has left."""
    remove_abandoned(folder, subfolders=False)
    remove_abandoned(folder / "records")
    if not (folder / PREPARED_NAME).is_file():
        write_json(folder / PREPARED_NAME, description | {"complete": False})
        return
    started_with = read_prepared(folder)["versions"]
    changed = [
        f"{name} {started_with.get(name)} then, {now} now"
        for name, now in description["versions"].items()
        if started_with.get(name) != now
    ]
    if changed:
        raise UserError(
            f"{folder} was started with other library versions ({', '.join(changed)}): install those versions to "
            "resume, or delete the folder to start again."
        )


def _extract_missing(
    videos: list[list[Source]],
    folder: Path,
    settings: PreparationSettings,
    workers: int,
    progress: Callable[[Progress], None] | None,
    make_detector: Callable[[], FaceDetector],
) -> None:
    """Extract the videos that have no record yet."""
    missing = [files for files in videos if not record_path(folder, files[0].video_id).is_file()]
    done = Progress(len(videos) - len(missing), len(videos), 0, 0)
    if progress is not None:
        progress(done)
    if not missing:
        return
    for record in extract_videos(missing, folder, settings, make_detector, workers):
        done = Progress(
            done.videos_done + 1,
            done.videos,
            done.frames + record["frames_read"],
            done.faces + len(record["rows"]),
        )
        if progress is not None:
            progress(done)


def _finish(corpus: Corpus, video_ids: list[str], folder: Path, description: dict[str, Any]) -> None:
    """Write report and manifest, with one record in memory at a time; equal records give equal bytes."""
    report = build_report(description["data_name"], (read_record(folder, video_id) for video_id in video_ids))
    write_json(folder / REPORT_NAME, report | describe_corpus(corpus))
    _refuse_empty(report, folder)
    faces = write_manifest((row for video_id in video_ids for row in read_record(folder, video_id)["rows"]), folder)
    counts = {"sources": len(corpus.sources), "videos": len(video_ids), "faces": faces}
    write_json(folder / PREPARED_NAME, description | {"complete": True, "counts": counts, "prepared_at": _now()})


def _group_by_video(sources: tuple[Source, ...]) -> dict[str, list[Source]]:
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
    if all(each.get("frames_unchanged", 0) >= each["frames_read"] for each in counts):
        raise UserError("preparation.perturbation changes no frame of this corpus: choose another type or level.")
    if not any(each["faces_kept"] for each in counts):
        raise UserError(
            f"No face was found in the whole corpus: check that its videos show faces, or lower min_probability; "
            f"the counts are in {folder / REPORT_NAME}."
        )
