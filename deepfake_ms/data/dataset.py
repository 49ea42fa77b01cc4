"""Prepared faces as tensors."""

from collections.abc import Mapping
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

from deepfake_ms.data.augmentation import augment, augment_with_box
from deepfake_ms.data.face_masks import FaceMask
from deepfake_ms.data.face_pairs import NO_PARTNER
from deepfake_ms.data.facial_swap import NOWHERE, WHOLE, CroppedFace, swap_faces
from deepfake_ms.errors import UserError
from deepfake_ms.labels import FAKE, REAL, UNLABELLED
from deepfake_ms.manifest import BOX_COLUMNS, LANDMARK_COLUMNS
from deepfake_ms.randomness import key

LABELS = {"real": REAL, "fake": FAKE, UNLABELLED: -1}
KEPT_BYTES = 64 * 2**20
"""Faces are kept in memory if all of them together are no larger, at the size of the model's input."""


class FaceDataset(Dataset):
    """Faces of a manifest: read, resized, swapped, masked and augmented, in this order.

    Items are indexed by (epoch, position) in training, where the augmentation is new in each epoch, or by position
    alone (epoch 0). The pixels depend on seed, stage, epoch and manifest row only: not on the order of the requests,
    nor on the number of workers.

    Args:
        manifest: as `read_manifest` returns it.
        rows: manifest positions of the faces, int [N].
        folder: the prepared folder, which the crop paths are relative to.
        mask: drawn on every face, except in the videos that it misses (`FaceMask.misses`); None for none.
        augmentation: from `build_augmentation`; None for none.
        partners: for the multi-scale facial swap (`deepfake_ms.data.facial_swap`), the manifest row of each fake's
            source, int [N], from `find_partners`; None swaps nothing. The augmentation must then move boxes.
        swap_kinds: probability of each kind of swap; needed with `partners`.
        input_size: side of the square model input, in pixels.
        seed, stage: key swap, mask and augmentation.

    Raises:
        UserError: a face lacks a landmark that the mask needs; on access, a crop that is missing or unreadable.
    """

    def __init__(
        self,
        manifest: pd.DataFrame,
        rows: np.ndarray,
        folder: Path,
        *,
        mask: FaceMask | None = None,
        augmentation: A.Compose | None = None,
        partners: np.ndarray | None = None,
        swap_kinds: Mapping[str, float] | None = None,
        input_size: int = 224,
        seed: int = 0,
        stage: str = "",
    ) -> None:
        chosen = manifest.iloc[rows]
        self.rows = np.asarray(rows, dtype=np.int64)
        self.folder = Path(folder)
        # Plain arrays: workers copy them, and a DataFrame row costs more than the image.
        self.crops, self.landmarks, self.boxes = _crops(chosen)
        self.labels = chosen["label"].map(LABELS).to_numpy(dtype=np.int64)
        self.mask = mask
        if mask and not (placed := np.isfinite(self.landmarks[:, mask.landmarks])).all():
            first = self.crops[int(np.argwhere(~placed)[0, 0])]
            raise UserError(f"{first} lacks the landmarks that the mask needs: prepare the corpus with face detection.")
        videos = chosen["video_id"]
        unmasked = {video: mask is None or mask.misses(video, seed) for video in videos.unique()}
        self.masked = ~videos.map(unmasked).to_numpy(dtype=bool)
        self.partners = partners
        if partners is not None:
            # Where there is no partner (-1), this holds the last row's crop, which is never read.
            self.sources = _crops(manifest.iloc[partners])
            self.swap_kinds = dict(swap_kinds)
        self.augmentation = augmentation
        self.input_size = input_size
        self.kept: dict[str, CroppedFace] | None = {} if len(rows) * 3 * input_size**2 <= KEPT_BYTES else None
        self.seed = seed
        self.stage = stage

    def __len__(self) -> int:
        return len(self.rows)

    def describe_swaps(self) -> str | None:
        """How many fakes have a source to be swapped with, in a sentence; None without facial swap."""
        if self.partners is None:
            return None
        fakes = np.count_nonzero(self.labels == FAKE)
        return f"Facial swap: {np.count_nonzero(self.partners != NO_PARTNER)} of {fakes} fakes have a source."

    def pixels(self, position: int, epoch: int = 0) -> np.ndarray:
        """The image of an item: uint8 RGB [input_size, input_size, 3]."""
        return self._pixels_and_box(position, epoch)[0].copy()

    def landmarks_at_size(self, position: int) -> np.ndarray:
        """MTCNN's five points of a face in pixels of the model's input, float32 [5, 2]."""
        return self._read(self.crops[position], self.landmarks[position], self.boxes[position]).landmarks

    def _pixels_and_box(self, position: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The image and the box of its fake part: left, top, right, bottom in fractions of the image, float32 [4]."""
        row = int(self.rows[position])
        face = self._read(self.crops[position], self.landmarks[position], self.boxes[position])
        mask = self.mask.for_face(key("mask", self.seed, row)) if self.masked[position] else None
        box = WHOLE if self.labels[position] == FAKE else NOWHERE
        if self.partners is not None and self.partners[position] != NO_PARTNER:
            crops, landmarks, boxes = self.sources
            source = self._read(crops[position], landmarks[position], boxes[position])
            random = np.random.default_rng(key("facial_swap", self.seed, self.stage, epoch, row))
            image, box = swap_faces(face, source, random, self.swap_kinds, mask)
        else:
            image = mask.draw(face.image, face.landmarks) if mask else face.image
        if self.augmentation:
            seed = key("augment", self.seed, self.stage, epoch, row)
            if self.partners is None:
                image = augment(self.augmentation, image, seed)
            else:
                image, box = augment_with_box(self.augmentation, image, box, seed)
        return image, box

    def __getitem__(self, item: int | tuple[int, int]) -> dict[str, torch.Tensor]:
        """One face, with the keys of `batch` and without its first dimension."""
        return {name: values[0] for name, values in self.batch([item]).items()}

    def batch(self, items: list[int | tuple[int, int]]) -> dict[str, torch.Tensor]:
        """The faces of `items` together.

        Images stay bytes until they are on the model's device (`Detector`): a worker hands its batch on through shared
        memory, where floats, four times the size, would cost more than reading the crops.

        Returns:
            The batch, in which `artifact_box` is there with the facial swap only:

            - ``image``: uint8 [N, 3, input_size, input_size], RGB.
            - ``label``: int64 [N], real 0, fake 1, unlabelled -1.
            - ``index``: int64 [N], the face's row in the manifest.
            - ``artifact_box``: float32 [N, 4], left, top, right, bottom of the fake part in
              fractions of the image; the whole image for a fake that is not swapped in a window, zeros for a real face.
        """
        requests = [item if isinstance(item, tuple) else (0, item) for item in items]
        images = np.empty((len(items), 3, self.input_size, self.input_size), dtype=np.uint8)
        boxes = np.empty((len(items), 4), dtype=np.float32)
        for number, (epoch, position) in enumerate(requests):
            pixels, boxes[number] = self._pixels_and_box(position, epoch)
            cv2.split(pixels, list(images[number]))  # written in place
        positions = [position for _, position in requests]
        batch = {
            "image": torch.from_numpy(images),
            "label": torch.from_numpy(self.labels[positions]),
            "index": torch.from_numpy(self.rows[positions]),
        }
        return batch if self.partners is None else {**batch, "artifact_box": torch.from_numpy(boxes)}

    def _read(self, crop: str, landmarks: np.ndarray, box: np.ndarray) -> CroppedFace:
        """A crop at the model's size, with its landmarks in the same pixels; its image is read-only."""
        if self.kept is not None and crop in self.kept:
            return self.kept[crop]
        path = self.folder / crop
        try:
            content = np.fromfile(path, dtype=np.uint8)
        except FileNotFoundError:
            raise self._unusable(path, "is missing") from None
        image = cv2.imdecode(content, cv2.IMREAD_COLOR_RGB) if content.size else None
        if image is None:
            raise self._unusable(path, "cannot be read as an image")
        height, width = image.shape[:2]
        if (height, width) != (self.input_size, self.input_size):
            image = resize_face(image, self.input_size)
            scale = np.array([self.input_size / width, self.input_size / height], dtype=np.float32)
            landmarks = (landmarks + 0.5) * scale - 0.5  # pixel centres have whole numbers
        image.setflags(write=False)
        face = CroppedFace(image, landmarks, box)
        if self.kept is not None:
            self.kept[crop] = face
        return face

    def _unusable(self, path: Path, reason: str) -> UserError:
        return UserError(f"{path} {reason}: delete {self.folder} and prepare the corpus again.")


def resize_face(image: np.ndarray, size: int) -> np.ndarray:
    """A crop, uint8 [H, W, 3], at the size of the model's input, uint8 [size, size, 3]."""
    if image.shape[:2] == (size, size):
        return image
    # INTER_AREA averages when it shrinks, but repeats pixels when it enlarges.
    method = cv2.INTER_AREA if size < min(image.shape[:2]) else cv2.INTER_LINEAR
    return cv2.resize(image, (size, size), interpolation=method)


def _crops(faces: pd.DataFrame) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Paths of the crops, landmarks in their pixels, float32 [N, 5, 2], and boxes in the frame, float32 [N, 4]."""
    landmarks = faces[LANDMARK_COLUMNS].to_numpy(dtype=np.float32).reshape(-1, 5, 2)
    return faces["crop"].tolist(), landmarks, faces[BOX_COLUMNS].to_numpy(dtype=np.float32)
