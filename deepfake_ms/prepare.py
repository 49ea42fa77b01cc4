"""``deepfake-ms prepare``: turn a corpus of videos or images into face crops and a manifest."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from deepfake_ms.cli import entry_point
from deepfake_ms.data.perturbation import preparation_settings
from deepfake_ms.data.union import UNION
from deepfake_ms.datasets import find_corpus, require_both_classes
from deepfake_ms.datasets.miniature import MiniatureSettings, draw_corpus
from deepfake_ms.errors import UserError
from deepfake_ms.preprocessing.disk import explain_disk_errors
from deepfake_ms.preprocessing.prepare import prepare_corpus, unprepared_videos
from deepfake_ms.preprocessing.prepared import read_complete, read_report
from deepfake_ms.preprocessing.progress import progress_bar
from deepfake_ms.preprocessing.report import print_report
from deepfake_ms.preprocessing.shards import Shard


@entry_point("prepare")
def main(cfg: DictConfig) -> None:
    console = Console(soft_wrap=True)
    if cfg.data.layout == UNION:
        raise UserError(f"{cfg.data.name} joins other corpora: prepare each of {', '.join(cfg.data.parts)} by itself.")
    root, prepared_root = _path(cfg.data.root, "data.root"), _path(cfg.prepared_root, "prepared_root")
    settings = preparation_settings(OmegaConf.to_container(cfg.preparation))
    workers, shard = _count_workers(cfg.workers), Shard.parse(cfg.shard)
    _require_writable(prepared_root)
    with explain_disk_errors(root):
        if cfg.data.draw is not None:
            with progress_bar("drawing the miniature corpus", "videos", console) as progress:
                draw_corpus(MiniatureSettings(**_mapping(cfg.data.draw, "data.draw")), root, workers, progress)
        corpus = find_corpus(cfg.data.layout, root, _mapping(cfg.data.options, "data.options"))
    require_both_classes(corpus)
    with (
        progress_bar("reading the corpus", "files", console, lines=False) as hashing,
        progress_bar("finding faces", "videos", console) as progress,
    ):
        prepared = prepare_corpus(
            corpus,
            str(cfg.data.name),
            settings,
            prepared_root,
            workers,
            lambda done: progress(done.videos_done, done.videos, frames=done.frames, faces=done.faces),
            shard=shard,
            merge_only=cfg.merge,
            hashing=hashing,
        )
    if read_complete(prepared) is None:
        left = len(unprepared_videos(corpus, prepared))
        console.print(f"Shard {shard} is done; {left} videos remain for the other shards: {prepared}", markup=False)
        return
    print_report(read_report(prepared), console)
    console.print(f"Prepared faces: {prepared}", markup=False)


def _path(value: object, key: str) -> Path:
    """The folder or file given by a key of the configuration.

    Raises:
        UserError: the value is not text, or empty.
    """
    if isinstance(value, str) and value:
        return Path(value)
    remedy = f"write {key}=./{value}" if isinstance(value, int) and not isinstance(value, bool) else f"set {key}=..."
    raise UserError(f"{key}={value!r} is not a path: {remedy}.")


def _mapping(value: object, key: str) -> Mapping[str, Any]:
    if not OmegaConf.is_dict(value):
        raise UserError(f"{key}={value} must be a table of settings, such as {{}}.")
    return OmegaConf.to_container(value)


def _count_workers(workers: object) -> int:
    """The number of worker processes; ``auto`` and -1 mean one per core available to this process.

    Raises:
        UserError: `workers` is not a number of processes.
    """
    if workers in ("auto", -1):
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 0:
        raise UserError(f"workers={workers} is no number of processes: choose 0, 1, 2, ... or auto for all cores.")
    return workers


def _require_writable(prepared_root: Path) -> None:
    """Check that the folder is writable before hours of work."""
    with explain_disk_errors(prepared_root):
        prepared_root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=prepared_root):
            pass


if __name__ == "__main__":
    main()
