"""A folder of prepared faces for training and evaluation, read once."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

import pandas as pd

from deepfake_ms.errors import UserError
from deepfake_ms.files import sha256_of
from deepfake_ms.manifest import MANIFEST_NAME, read_manifest
from deepfake_ms.preprocessing.prepared import read_complete, read_prepared
from deepfake_ms.preprocessing.video_table import read_videos


@dataclass(frozen=True, eq=False)
class PreparedFaces:
    """The faces that ``deepfake-ms prepare`` wrote into a folder.

    Attributes:
        folder: of the manifest and the crops.
        about: prepared.json: `data_name`, `fingerprint`, `synthetic` and more.
        manifest: one row per face, as `read_manifest` returns it.
    """

    folder: Path
    about: dict = field(repr=False)
    manifest: pd.DataFrame = field(repr=False)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a prepared folder.

        Raises:
            UserError: it is not complete, or was prepared by another version.
        """
        if read_complete(folder) is None:
            raise UserError(
                f"{folder} is not a complete folder of prepared faces: give one that `deepfake-ms prepare` made."
            )
        return cls(folder, read_prepared(folder), read_manifest(folder))

    @cached_property
    def manifest_sha256(self) -> str:
        """Sha256 of the manifest file."""
        return sha256_of(self.folder / MANIFEST_NAME)

    @cached_property
    def videos(self) -> pd.DataFrame:
        """All videos of the corpus, also those without a face, see `read_videos`."""
        parts = self.about.get("parts")
        if not parts:
            return read_videos(self.folder)
        videos = {name: read_videos(self.folder / folder) for name, folder in parts.items()}
        return pd.concat(
            [table.assign(video_id=f"{name}/" + table["video_id"]) for name, table in videos.items()], ignore_index=True
        )
