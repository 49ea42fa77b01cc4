"""``deepfake-ms prepare``: turn a corpus of videos or images into face crops and a manifest."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from deepfake_ms.cli import entry_point
from deepfake_ms.datasets import find_corpus
from deepfake_ms.datasets.miniature import MiniatureSettings, draw_corpus
from deepfake_ms.preprocessing.prepare import prepare_corpus, unprepared_videos
from deepfake_ms.preprocessing.prepared import read_complete, read_report
from deepfake_ms.preprocessing.progress import progress_bar
from deepfake_ms.preprocessing.report import print_report
from deepfake_ms.preprocessing.settings import PreparationSettings
from deepfake_ms.preprocessing.shards import Shard


@entry_point("prepare")
def main(cfg: DictConfig) -> None:
    console = Console(soft_wrap=True)
    root = Path(cfg.data.root)
    shard = Shard.parse(cfg.shard)
    if cfg.data.draw is not None:
        with progress_bar("drawing the miniature corpus", "videos", console) as progress:
            draw_corpus(MiniatureSettings(**OmegaConf.to_container(cfg.data.draw)), root, cfg.workers, progress)
    corpus = find_corpus(cfg.data.layout, root, OmegaConf.to_container(cfg.data.options))
    with (
        progress_bar("reading the corpus", "files", console, lines=False) as hashing,
        progress_bar("finding faces", "videos", console) as progress,
    ):
        prepared = prepare_corpus(
            corpus,
            cfg.data.name,
            PreparationSettings(**OmegaConf.to_container(cfg.preparation)),
            Path(cfg.prepared_root),
            cfg.workers,
            lambda done: progress(done.videos_done, done.videos, frames=done.frames, faces=done.faces),
            shard=shard,
            merge_only=cfg.merge,
            hashing=hashing,
        )
    if read_complete(prepared) is None:
        left = len(unprepared_videos(corpus, prepared))
        console.print(f"Shard {shard} is done; {left} videos are left to the other shards: {prepared}")
        return
    print_report(read_report(prepared), console)
    console.print(f"Prepared faces: {prepared}")


if __name__ == "__main__":
    main()
