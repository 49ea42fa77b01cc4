"""A corpus to a prepared folder: crops, manifest and report; interrupted runs continue, finished ones are reused."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

from deepfake_ms.datasets import Corpus, Source
from deepfake_ms.errors import UserError
from deepfake_ms.files import write_json
from deepfake_ms.manifest import write_manifest
from deepfake_ms.preprocessing.extract import read_record, record_path
from deepfake_ms.preprocessing.faces import FaceDetector
from deepfake_ms.preprocessing.fingerprint import digest_contents, fingerprint_corpus
from deepfake_ms.preprocessing.mtcnn import MTCNNDetector
from deepfake_ms.preprocessing.prepared import (
    PREPARED_NAME,
    REPORT_NAME,
    describe_listing,
    describe_wanted,
    read_complete,
    read_prepared,
)
from deepfake_ms.preprocessing.report import build_report
from deepfake_ms.preprocessing.settings import PreparationSettings
from deepfake_ms.preprocessing.shards import Shard, only_process
from deepfake_ms.preprocessing.workers import extract_videos

EVERYTHING = Shard()
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
    """How far the extraction is."""

    videos_done: int
    """Those of earlier runs included."""
    videos: int
    """All that this run is to do or has found done."""
    frames: int
    """Read by this run."""
    faces: int
    """Kept by this run."""


def prepare_corpus(
    corpus: Corpus,
    data_name: str,
    settings: PreparationSettings,
    prepared_root: Path,
    workers: int = 0,
    progress: Callable[[Progress], None] | None = None,
    make_detector: Callable[[], FaceDetector] = MTCNNDetector,
    shard: Shard = EVERYTHING,
    merge_only: bool = False,
    hashing: Callable[[int, int], None] | None = None,
) -> Path:
    """Extract the faces of a corpus into ``PREPARED_ROOT/DATA_NAME-FINGERPRINT``.

    The fingerprint covers the settings and every file's content, so the same input is prepared once: a complete folder
    is returned at once, an interrupted one is continued. Crops, manifest and report do not depend on `workers`,
    shards or interruptions. Files that cannot be read are listed in the report and left out.

    Args:
        corpus: from `deepfake_ms.datasets.find_corpus`.
        data_name: name of the data configuration.
        settings: sampling, crop and confidence settings.
        prepared_root: the folder that holds all prepared folders.
        workers: processes to use; 0 works in this one.
        progress: called at the start and after each video.
        make_detector: called once in each worker; a module-level function or class.
        shard: extract this part only; the shard that finishes last writes the manifest.
        merge_only: extract nothing, only write the manifest.
        hashing: called with (files read, all files) while the fingerprint is made.

    Returns:
        The prepared folder: `PREPARED_NAME` and ``records/``, and once all shards are done the manifest, the report
        and all of ``crops/``.

    Raises:
        UserError: no file can be read, no face is found, a worker process dies, another process does the same, the
            folder was begun with other library versions, or not all that is to be merged is there.
    """
    sources = corpus.sources
    known = Path(prepared_root) / ".digests"
    contents = digest_contents(sources, known, shard.start_in(len(sources)), workers, hashing)
    fingerprint = fingerprint_corpus(sources, settings, contents)
    folder = Path(prepared_root) / f"{data_name}-{fingerprint}"
    description = {
        **describe_wanted(data_name, corpus.root, corpus.options, settings),
        "fingerprint": fingerprint,
        "listing": describe_listing(corpus),
        "synthetic": corpus.synthetic,
        "versions": {name: version(name) for name in _LIBRARIES},
    }
    videos = _group_by_video(sources)
    mine = [] if merge_only else shard.share_of(list(videos))
    if (complete := read_complete(folder)) is not None:
        # Written anew because the file's time tells `find_prepared` the last prepare, and the corpus may have moved.
        write_json(folder / PREPARED_NAME, complete | {"root": description["root"]})
        if progress is not None:
            progress(Progress(len(mine), len(mine), 0, 0))
        return folder
    with only_process(Path(prepared_root), folder.name, shard):
        _claim(folder, description)
        _extract_missing([videos[video_id] for video_id in mine], folder, settings, workers, progress, make_detector)
        missing = unprepared_videos(corpus, folder)
        if not missing:
            _finish(corpus, list(videos), folder, description)
        elif merge_only:
            raise UserError(
                f"{folder} cannot be merged yet: {len(missing)} of {len(videos)} videos are not prepared, "
                f"e.g. {missing[0]}; run the shards that are missing."
            )
    return folder


def unprepared_videos(corpus: Corpus, folder: Path) -> list[str]:
    """The ids of the corpus's videos that are still to be prepared in `folder`, sorted."""
    return [video_id for video_id in _group_by_video(corpus.sources) if not record_path(folder, video_id).is_file()]


def _claim(folder: Path, description: dict[str, Any]) -> None:
    """Begin the folder, or make sure that it was begun with the same libraries."""
    if not (folder / PREPARED_NAME).is_file():
        write_json(folder / PREPARED_NAME, description | {"complete": False})
        return
    begun_with = read_prepared(folder)["versions"]
    changed = [
        f"{name} {begun_with.get(name)} then, {now} now"
        for name, now in description["versions"].items()
        if begun_with.get(name) != now
    ]
    if changed:
        raise UserError(
            f"{folder} was begun with other library versions ({', '.join(changed)}): install those to go on, or delete "
            "the folder to begin anew."
        )


def _extract_missing(
    videos: list[list[Source]],
    folder: Path,
    settings: PreparationSettings,
    workers: int,
    progress: Callable[[Progress], None] | None,
    make_detector: Callable[[], FaceDetector],
) -> None:
    """Extract every video that has no record yet."""
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
    """Write report and manifest from the records, one at a time; equal records give equal bytes."""
    report = build_report(
        description["data_name"], (read_record(folder, video_id) for video_id in video_ids), corpus.missing
    )
    write_json(folder / REPORT_NAME, report)
    _refuse_empty(report, folder)
    faces = write_manifest((row for video_id in video_ids for row in read_record(folder, video_id)["rows"]), folder)
    counts = {"sources": len(corpus.sources), "videos": len(video_ids), "faces": faces}
    write_json(folder / PREPARED_NAME, description | {"complete": True, "counts": counts})


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
    if not any(each["faces_kept"] for each in counts):
        raise UserError(
            f"No face was found in the whole corpus: check that its videos show faces, or lower min_probability; "
            f"the counts are in {folder / REPORT_NAME}."
        )
