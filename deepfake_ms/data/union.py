"""Several prepared corpora as one: a manifest of all their faces, whose crops stay where they are."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepfake_ms.data.prepared_faces import PreparedFaces
from deepfake_ms.errors import UserError
from deepfake_ms.files import write_json
from deepfake_ms.manifest import write_manifest
from deepfake_ms.preprocessing.prepared import PREPARED_NAME, read_complete

UNION = "union"
"""Layout of a corpus that joins others, see ``conf/data/union.yaml``."""


@dataclass(frozen=True)
class Part:
    """A corpus of the union.

    Attributes:
        name: of its data configuration.
        layout: of its files; corpora of one layout name people alike.
        faces: its prepared faces.
    """

    name: str
    layout: str
    faces: PreparedFaces


def join_corpora(name: str, parts: Sequence[Part], prepared_root: Path) -> PreparedFaces:
    """The faces of several corpora in the folder ``PREPARED_ROOT/NAME-FINGERPRINT``, which is written if it is missing.

    Video, sample and source video ids begin with the name of the corpus. Identities begin with the family of its
    layout, so that people of two versions of one corpus (celebdf, celebdf_pp) stay the same people; those of a drawn
    corpus begin with its name, because every draw has other people. The corpora's own lists stay valid.

    Args:
        name: of the union.
        parts: at least two, with different names.
        prepared_root: the parent of all prepared folders.

    Raises:
        UserError: fewer than two parts, or they were prepared with different settings.
    """
    parts = sorted(parts, key=lambda part: part.name)
    if len(parts) < 2:
        raise UserError(f"data={name} joins {len(parts)} corpora: give at least two, e.g. data=[faceforensics,dfd].")
    first = parts[0].faces.about
    for part in parts[1:]:
        if part.faces.about["preparation"] != first["preparation"]:
            raise UserError(
                f"{part.name} and {parts[0].name} were prepared with different settings: prepare both with the same "
                "preparation=..."
            )
    contents = [(part.name, part.faces.about["fingerprint"]) for part in parts]
    fingerprint = hashlib.sha256(repr(contents).encode()).hexdigest()[:12]
    folder = Path(prepared_root) / f"{name}-{fingerprint}"
    if read_complete(folder) is None:
        rows = (row for part in parts for row in _rows(part, folder))
        counts = {"faces": write_manifest(rows, folder)}
        about = {
            "data_name": name,
            "fingerprint": fingerprint,
            "synthetic": any(part.faces.about["synthetic"] for part in parts),
            "preparation": first["preparation"],
            "parts": {part.name: os.path.relpath(part.faces.folder, folder) for part in parts},
            "counts": counts,
            "complete": True,
        }
        write_json(folder / PREPARED_NAME, about)
    return PreparedFaces.read(folder)


def _rows(part: Part, folder: Path) -> Iterator[dict]:
    """The rows of a part's manifest as those of the union."""
    people = part.name if part.faces.about["synthetic"] else part.layout.partition("_")[0]
    crops = os.path.relpath(part.faces.folder, folder).replace(os.sep, "/")
    for row in part.faces.manifest.astype(object).where(part.faces.manifest.notna(), None).to_dict("records"):
        source = row["source_video"]
        yield {
            **row,
            "sample_id": f"{part.name}/{row['sample_id']}",
            "video_id": f"{part.name}/{row['video_id']}",
            "source_video": source and f"{part.name}/{source}",
            "identities": [f"{people}:{each}" for each in row["identities"]],
            "crop": f"{crops}/{row['crop']}",
        }
