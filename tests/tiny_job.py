"""A Hydra main whose jobs are two processes each and end in every way there is: tests sweep over it.

python tests/tiny_job.py -m hydra/launcher=isolated hydra.sweep.dir=SWEEP ends=well,crash seed=0,1

`ends` is what happens to the job, while a second process of it sleeps for two minutes:

    well      it tells the second process to end, and finishes
    leave     it finishes, but not the second process
    crash     it raises
    die       it kills itself
    hang      it sleeps; at SIGTERM it saves and exits with 143
    deaf      it sleeps and ignores SIGTERM
    ddp, ddp_rank_0, ddp_rank_1, ddp_hang
              it trains on two gloo processes with Lightning; this rank is killed in its second step, or rank 1 sleeps

Everything that a job has to tell is in the folder `told`: a file per job and process, named by them, holding its id.
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore

from deepfake_ms.launcher import isolated

ENVIRONMENT = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")


@dataclass
class TinyConfig:
    told: str
    ends: str = "well"
    seed: int = 0
    seconds: float = 0.0  # how long a job takes that ends well


ConfigStore.instance().store("tiny", TinyConfig)


def tell(cfg: TinyConfig, who: str, pid: int) -> None:
    told = {"pid": pid, "argv": sys.argv[1:], **{name: os.environ.get(name) for name in ENVIRONMENT}}
    told["begun"] = time.time()
    part = Path(cfg.told) / f".{cfg.ends}_{cfg.seed}_{who}"
    part.write_text(json.dumps(told))
    part.rename(part.with_name(part.name[1:]))


@hydra.main(version_base="1.3", config_path=None, config_name="tiny")
def main(cfg: TinyConfig) -> None:
    if cfg.ends.startswith("ddp"):
        train_on_two(cfg)
        return
    if cfg.ends == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if cfg.ends == "hang":
        signal.signal(signal.SIGTERM, lambda *_: (tell(cfg, "saved", 0), sys.exit(143)))
    second = subprocess.Popen(["sleep", "120"])
    tell(cfg, "second", second.pid)
    tell(cfg, "first", os.getpid())
    if cfg.ends == "well":
        time.sleep(cfg.seconds)
        second.kill()
        tell(cfg, "done", 0)
    elif cfg.ends == "crash":
        raise RuntimeError("the tiny job crashes")
    elif cfg.ends == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif cfg.ends in ("hang", "deaf"):
        time.sleep(120)


def train_on_two(cfg: TinyConfig) -> None:
    import lightning as L
    import torch
    from lightning.pytorch.demos.boring_classes import BoringModel

    torch.set_num_threads(1)

    class Fatal(BoringModel):
        def on_train_batch_start(self, batch, batch_idx):
            tell(cfg, f"rank_{self.global_rank}", os.getpid())
            if batch_idx == 1 and cfg.ends == f"ddp_rank_{self.global_rank}":
                os.kill(os.getpid(), signal.SIGKILL)
            if batch_idx == 1 and cfg.ends == "ddp_hang" and self.global_rank == 1:
                time.sleep(120)

    L.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        max_steps=3,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    ).fit(Fatal())


if __name__ == "__main__":
    isolated.register()
    main()
