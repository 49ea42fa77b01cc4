"""`deepfake-ms train` as a process that can be killed anywhere, and what must be true after it was run again."""

import json
import multiprocessing
import os
import random
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pandas as pd
from lightning.pytorch.callbacks import Callback
from writes import RENAMES, KillAt, Write, WriteWatch, kill_at, read_writes

from deepfake_ms.training.stage_chain import StageChain, read_chain

TWO_RANKS = ("trainer.lightning.devices=2", "trainer.lightning.strategy=ddp")
SAVED_EVERY = 2
"""Steps between two saves; a kill may lose as many."""
BASE = (
    *("data=celebdf_v2", "split=video", "name=x", "optimization.epochs=3", "optimization.batch_size=4"),
    f"trainer.save_every_n_steps={SAVED_EVERY}",
)
EYES = ("experiment=table2_wl_rf_mep", "size=small", "model.input_size=32")
FAMILIES = {
    "genconvit_ed": EYES,
    "genconvit_vae": (*EYES, "model=genconvit_vae"),
    "genconvit": (*EYES, "model=genconvit"),
    "resnet50": ("experiment=table1_resnet50", "size=small", "model.input_size=32"),
    "senet": ("experiment=table1_senet", "size=small", "model.input_size=32"),
    "bit": ("experiment=table1_bit", "size=small", "model.input_size=32"),
    "vit": ("experiment=table1_vit", "size=small", "model.input_size=32"),
    "efficientnet_b7": ("experiment=table1_efficientnet_b7", "size=small", "model.input_size=32"),
    "recce": ("experiment=table1_recce", "size=small", "model.input_size=64"),
    "caddm": ("experiment=table1_caddm", "size=small"),
    "linear_probe": ("experiment=table1_linear_probe", "size=lite", "model.input_size=32"),
}
"""Overrides for a small run of every model family."""

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["whole_run", "deepfake_ms.train", "timm", "albumentations"])


class Witness(Callback):
    """Notes every finished training batch: stage, epoch, number, rank and the faces' rows."""

    def __init__(self, path: Path):
        self.path = path

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        stage = next(each.stage.name for each in trainer.callbacks if isinstance(each, StageChain))
        entry = [stage, trainer.current_epoch, batch_idx, trainer.global_rank, batch["index"].tolist()]
        with self.path.open("a") as stream:
            stream.write(json.dumps(entry) + "\n")


@dataclass(frozen=True)
class Workshop:
    """A folder with faces, in which `deepfake-ms train` is started.

    Attributes:
        folder: the working directory.
        faces: prepared faces.
        overrides: of the command.
    """

    folder: Path
    faces: Path
    overrides: tuple[str, ...] = ()

    @property
    def run(self) -> Path:
        """The run's folder."""
        (record,) = (self.folder / "runs").rglob("seed_0/run.json")
        return record.parent

    @property
    def printed(self) -> str:
        """What the last start printed, on rank 0."""
        return (self.folder / "printed_0.txt").read_text()

    def writes(self, rank: int = 0) -> list[Write]:
        """Writes of the last start."""
        return read_writes(self.folder / f"writes_{rank}.jsonl")

    def start(
        self,
        kill: KillAt | None = None,
        *,
        ranks: int = 1,
        rank: int = 0,
        after_s: float | None = None,
        number: int = signal.SIGKILL,
        more: Sequence[str] = (),
    ) -> list[int]:
        """Exit codes of the ranks of one start, after none of its processes is left.

        Args:
            kill: at which write rank `rank` is killed.
            ranks: number of gloo processes.
            rank: which one is killed.
            after_s: send it the signal `number` after so many seconds.
            more: further overrides.
        """
        (self.folder / "tmp").mkdir(parents=True, exist_ok=True)
        port = _free_port()
        several = TWO_RANKS if ranks > 1 else ()
        arguments = [*BASE, f"prepared={self.faces}", *self.overrides, *several, *more]
        processes, outputs = [], []
        for each in range(ranks):
            # A pipe, because a limit of the size of files must not concern what is printed.
            reader, writer = PROCESSES.Pipe(duplex=False)
            its_kill = kill if each == rank else None
            arguments_of_train = (self.folder, arguments, each, ranks, port, its_kill, writer)
            processes.append(PROCESSES.Process(target=_train, args=arguments_of_train))
            outputs.append(reader)
            processes[-1].start()
            writer.close()
        if after_s is not None:
            time.sleep(after_s)
            if processes[rank].is_alive():
                os.kill(processes[rank].pid, number)
        processes[rank].join(120)
        for process in processes:
            process.join(10 if processes[rank].exitcode else 120)
            if process.is_alive():  # e.g. waiting for a first connection; torchrun and SLURM stop it then
                process.terminate()
                process.join(10)
        codes = [process.exitcode for process in processes]
        for process in processes:
            process.kill()
        for each, reader in enumerate(outputs):
            os.set_blocking(reader.fileno(), False)
            with suppress(BlockingIOError):
                (self.folder / f"printed_{each}.txt").write_bytes(os.read(reader.fileno(), 2**20))
            reader.close()
        assert None not in codes, f"a process hangs: {codes}; {self.printed}"
        sessions = {process.pid for process in processes}
        assert wait_for_end(sessions), "processes are left after 10 s"
        return codes


def _train(
    folder: Path, arguments: list[str], rank: int, ranks: int, port: int, kill: KillAt | None, output: Connection
) -> None:
    os.setsid()
    os.chdir(folder)
    multiprocessing.set_start_method("fork", force=True)
    os.environ.update(TMPDIR=str(folder / "tmp"), COLUMNS="300")
    if ranks > 1:
        os.environ.update(LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    output.close()
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    import tempfile

    tempfile.tempdir = None
    from deepfake_ms import train
    from deepfake_ms.training.trainer import TrainerSettings

    build = TrainerSettings.build

    def with_witness(self, callbacks=(), **named):
        return build(self, [Witness(folder / f"witness_{rank}.jsonl"), *callbacks], **named)

    TrainerSettings.build = with_witness
    sys.argv = ["deepfake_ms/train.py", *arguments]
    WriteWatch(folder / "runs", folder / f"writes_{rank}.jsonl", kill)
    train.main()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def wait_for_end(sessions: Iterable[int], seconds: float = 10) -> bool:
    """Whether all processes of these sessions end within so many seconds."""
    end = time.monotonic() + seconds
    while alive_in(set(sessions)):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def alive_in(sessions: set[int]) -> list[int]:
    """Processes of these sessions that are not zombies."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(session) in sessions and state != "Z":
            found.append(int(stat.parent.name))
    return found


def assert_as_undisturbed(
    found: Workshop, undisturbed: Workshop, kills: int = 1, ranks: int = 1, lost: int = SAVED_EVERY
) -> None:
    """What must hold once a killed run has been run again to its end.

    The stages and their weights, the learning curves, predictions and scores are those of the undisturbed run; nothing
    temporary is left; every face of the balanced training set was used once per epoch, apart from batches that are cut
    off; and each kill cost at most `lost` optimizer steps.
    """
    run, other = found.run, undisturbed.run
    ours, theirs = read_chain(run), read_chain(other)
    assert [each.stage for each in ours] == [each.stage for each in theirs]
    assert [each.sha256 for each in ours] == [each.sha256 for each in theirs]
    curves = [pd.read_csv(each / "metrics.csv").drop(columns="train/loss") for each in (run, other)]
    curves = [each[[name for name in each if not name.startswith("train/")]] for each in curves]
    pd.testing.assert_frame_equal(*curves, check_exact=True)
    predictions = [pd.read_parquet(each / "evaluation/test/selected/predictions.parquet") for each in (run, other)]
    pd.testing.assert_frame_equal(*predictions, check_exact=True)
    scores = [json.loads((each / "evaluation/test/selected/scores.json").read_text()) for each in (run, other)]
    assert scores[0]["metrics"] == scores[1]["metrics"]
    for line in (run / "test_evaluations.jsonl").read_text().splitlines():
        assert json.loads(line)["test_set"] == "test"
    assert len(list((found.folder / "runs/.stages").glob("*.json"))) == len(ours)
    left = [
        path for path in (found.folder / "runs").rglob("*") if path.name.endswith(".part") or "previous" in path.name
    ]
    assert left == []
    assert list((found.folder / "tmp").rglob("*")) == []
    assert_every_face_once(found, undisturbed, kills * lost, ranks)


def assert_every_face_once(found: Workshop, undisturbed: Workshop, lost: int, ranks: int) -> None:
    """See `assert_as_undisturbed`."""
    ours, theirs = (read_witness(each, ranks) for each in (found, undisturbed))
    assert (
        ours.drop_duplicates(["stage", "epoch", "batch", "rank", "rows"]).shape
        == ours.drop_duplicates(["stage", "epoch", "batch", "rank"]).shape
    ), "a repeated batch has other faces"
    effective = [
        each.drop_duplicates(["stage", "epoch", "batch", "rank"]).sort_values(["stage", "epoch", "batch", "rank"])
        for each in (ours, theirs)
    ]
    pd.testing.assert_frame_equal(*(each.reset_index(drop=True) for each in effective))
    split = pd.read_parquet(found.run / "split.parquet")
    balanced = set(np.flatnonzero(split["balanced"]))
    for _, epoch in effective[0].groupby(["stage", "epoch"]):
        faces = Counter(row for rows in epoch["rows"] for row in rows)
        assert set(faces) <= balanced
        assert set(faces.values()) == {1}
        assert len(balanced) - len(faces) < 4  # only an incomplete last batch is left out
    for rank in range(ranks):
        assert (ours["rank"] == rank).sum() - (effective[0]["rank"] == rank).sum() <= lost


def read_witness(workshop: Workshop, ranks: int = 1) -> pd.DataFrame:
    """The finished batches of all starts; a line that a kill has cut off is not one."""
    lines = []
    for rank in range(ranks):
        for line in (workshop.folder / f"witness_{rank}.jsonl").read_text().splitlines():
            try:
                *keys, rows = json.loads(line)
            except ValueError:
                continue
            lines.append([*keys, tuple(rows)])
    return pd.DataFrame(lines, columns=["stage", "epoch", "batch", "rank", "rows"])


def choose_kills(writes: Sequence[Write], count: int) -> list[KillAt]:
    """So many kills: before each kind of write and inside each kind of file, in any stage, then at random writes."""
    generator = random.Random(0)
    kinds: dict[tuple[str, str], list[int]] = {}
    for number, write in enumerate(writes):
        if write.event in ("open", *RENAMES):
            kinds.setdefault((write.event, Path(write.path).name), []).append(number)
    kills = [kill_at(writes, generator.choice(numbers)) for numbers in kinds.values()]
    kills += [
        kill_at(writes, generator.choice(numbers), generator.randrange(1, 150))
        for (event, _), numbers in kinds.items()
        if event == "open"
    ]
    generator.shuffle(kills)
    while len(kills) < count:
        kills.append(kill_at(writes, generator.randrange(len(writes))))
    return kills[:count]
