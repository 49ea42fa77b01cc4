"""Reads what Weights & Biases wrote offline."""

import json
import struct
from pathlib import Path

import pandas as pd
from wandb.proto.wandb_internal_pb2 import Record


class OfflineRun:
    """What the W&B files of a run's folder hold.

    Attributes:
        files: all W&B logs in the folder.
        run: the record that opens the log.
        history: one row per step.
        summary, config: the last values, nested keys joined with a slash.
        artifacts: name → record, in order.
    """

    def __init__(self, folder: Path):
        self.files = sorted((folder / "wandb").glob("offline-run-*/*.wandb"))
        self.summary, self.config, self.artifacts, rows = {}, {}, {}, []
        for content in read_log(self.files[-1].read_bytes()):
            record = Record()
            record.ParseFromString(content)
            kind = record.WhichOneof("record_type")
            if kind == "run":
                self.run = record.run
                self.config |= _values(record.run.config.update)
            elif kind == "history":
                rows.append(_values(record.history.item))
            elif kind in ("summary", "config"):
                getattr(self, kind).update(_values(getattr(record, kind).update))
            elif kind == "artifact":
                self.artifacts[record.artifact.name] = record.artifact
        self.history = pd.DataFrame(rows)

    def contents(self, artifact: str) -> dict:
        return {entry.path: entry for entry in self.artifacts[artifact].manifest.contents}

    def table(self, name: str) -> pd.DataFrame:
        content = json.loads((self.files[-1].parent / "files" / self.summary[f"{name}/path"]).read_text())
        return pd.DataFrame(content["data"], columns=content["columns"])


def _values(items) -> dict:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def read_log(content: bytes, block: int = 32768, header: int = 7):
    """The records of a W&B file: 7 bytes of magic, then LevelDB's log format (crc, length, whole/first/middle/last)."""
    place, parts = header, []
    while place + header <= len(content):
        if block - place % block < header:
            place += block - place % block
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        parts.append(content[place + header : place + header + length])
        place += header + length
        if kind in (1, 4):
            yield b"".join(parts)
            parts = []
