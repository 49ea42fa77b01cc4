"""Loading speed of training faces: this package compared with a straightforward torchvision program.

    python -m experiments.benchmarks.loading                              # on drawn faces
    python -m experiments.benchmarks.loading --prepared prepared/FOLDER   # on the faces that you prepared

Three programs load the same batches from disk, alternating on the same machine:

- ImageFolder, PNG: `torchvision.datasets.ImageFolder` over class folders of PNG files with PIL's settings; a transform
  that masks the eyes, augments, and ends with torchvision's `ToTensor` and `Normalize`; PyTorch's `DataLoader`.
- ImageFolder, our files: the same program over the crop files of the prepared folder.
- ours: `StageData.train_dataloader()` over the prepared folder, and the normalisation of `Detector`.

All three use the package's own eye mask and augmentation with the same random draws, so they differ only in file
format, decoding and conversion. Before anything is timed, every image of an epoch is checked to be the same tensor, bit
for bit, in all three. Every process computes on one thread, as PyTorch's workers do; on a busy machine, several threads
would wait for each other.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, cycle, islice, product
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from omegaconf import OmegaConf
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import Compose, Normalize, ToTensor

from deepfake_ms.data.augmentation import augment, build_augmentation, ordered
from deepfake_ms.data.dataset import FaceDataset
from deepfake_ms.data.face_masks import FaceMask
from deepfake_ms.data.loaders import StageData
from deepfake_ms.data.splits import balance
from deepfake_ms.datasets.miniature import MiniatureSettings, plan_corpus, render_video
from deepfake_ms.labels import CLASS_NAMES
from deepfake_ms.manifest import LANDMARK_COLUMNS, SCHEMA, read_manifest, write_manifest
from deepfake_ms.preprocessing.crops import CROP_SUFFIX, encode_crop
from deepfake_ms.randomness import key
from experiments.benchmarks.machine import describe_machine

CONF = Path(__file__).parents[2] / "conf"
FACES = ("cropped", "masked_eyes")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH_SIZE = 32
LIBRARIES = ("torch", "torchvision", "opencv-python-headless", "pillow", "albumentations", "numpy")
SEED, STAGE = 0, "benchmark"
PROGRAMS = ("ImageFolder, PNG", "ImageFolder, our files", "ours")


@dataclass(frozen=True)
class Setting:
    """One row of the table."""

    augmentation: str
    faces: str
    workers: int

    def build_augmentation(self) -> Callable[..., dict] | None:
        """The pipeline of ``conf/augmentation``."""
        return build_augmentation(ordered(_read_config("augmentation", self.augmentation)))

    def build_mask(self) -> FaceMask | None:
        """The mask of ``conf/mask/eyes.yaml``, or None."""
        return FaceMask.from_settings(_read_config("mask", "eyes")) if self.faces == "masked_eyes" else None

    def __str__(self) -> str:
        return f"{self.augmentation}, {self.faces}, {self.workers} workers"


def _read_config(group: str, name: str) -> dict:
    return OmegaConf.to_container(OmegaConf.load(CONF / group / f"{name}.yaml"))


def draw_faces(folder: Path, count: int) -> Path:
    """Make a prepared folder of `count` drawn faces, half real, half fake: whole frames of miniature videos, 224 px.

    Only the first 320 are different faces.
    """
    settings = MiniatureSettings(seed=SEED, size=224, fps=1, seconds=4)
    videos = plan_corpus(settings)
    rows = []
    for label in CLASS_NAMES:
        of_label = [video for video in videos if video.is_fake == (label == "fake")]
        frames = chain.from_iterable(render_video(video, settings) for video in of_label)
        for number, (pixels, eyes) in enumerate(islice(cycle(islice(frames, 160)), count // 2)):
            crop = folder / "crops" / label / f"{number:05d}{CROP_SUFFIX}"
            crop.parent.mkdir(parents=True, exist_ok=True)
            crop.write_bytes(encode_crop(pixels))
            rows.append(
                dict.fromkeys(SCHEMA.names)
                | dict(zip(LANDMARK_COLUMNS, eyes.ravel().tolist(), strict=False))
                | {"sample_id": f"{label}/{number:05d}", "video_id": label, "frame_index": number}
                | {"label": label, "method": label, "crop": crop.relative_to(folder).as_posix()}
            )
    write_manifest(rows, folder)
    return folder


class Ours:
    """The package's own training batches, normalised as in `Detector.on_after_batch_transfer`."""

    def __init__(self, prepared: Path, rows: np.ndarray, setting: Setting) -> None:
        faces = FaceDataset(
            read_manifest(prepared),
            rows,
            prepared,
            mask=setting.build_mask(),
            augmentation=setting.build_augmentation(),
            seed=SEED,
            stage=STAGE,
        )
        self.loader = StageData(faces, faces, BATCH_SIZE, setting.workers, SEED, STAGE).train_dataloader()
        self.mean, self.std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        for batch in self.loader:
            yield {**batch, "image": batch["image"].float().div_(255).sub_(self.mean).div_(self.std)}


class Faces(ImageFolder):
    """The program to compare with: class folders of files that are named by their manifest row.

    Args:
        root: contains one folder per class.
        landmarks: float32 [manifest rows, 5, 2], looked up by file name.
        setting: mask and augmentation.
    """

    def __init__(self, root: Path, landmarks: np.ndarray, setting: Setting) -> None:
        super().__init__(root)
        self.landmarks = landmarks
        self.mask = setting.build_mask()
        self.augmentation = setting.build_augmentation()
        self.to_tensor = Compose([ToTensor(), Normalize(MEAN, STD)])

    def row(self, index: int) -> int:
        return int(Path(self.samples[index][0]).stem)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image, label = super().__getitem__(index)
        row = self.row(index)
        if image.size != (224, 224):
            raise SystemExit(f"The crop of row {row} is {image.size} px: prepare the corpus with crops of 224 px.")
        if self.mask:
            image = self.mask.draw(np.array(image), self.landmarks[row])
        if self.augmentation:
            image = augment(self.augmentation, np.array(image), key("augment", SEED, STAGE, 0, row))
        return self.to_tensor(image), label


def their_loader(root: Path, landmarks: np.ndarray, setting: Setting) -> DataLoader:
    """PyTorch's loader over `Faces`."""
    return DataLoader(
        Faces(root, landmarks, setting),
        batch_size=BATCH_SIZE,
        shuffle=True,
        drop_last=True,
        num_workers=setting.workers,
        persistent_workers=setting.workers > 0,
    )


def write_class_folders(prepared: Path, rows: np.ndarray, png: Path, copies: Path) -> None:
    """Write the crops in `rows` as PNG files with PIL's default settings, and as copies of the crop files."""
    manifest = read_manifest(prepared)
    for row in rows:
        label, crop = manifest.loc[row, ["label", "crop"]]
        for folder in (png, copies):
            (folder / label).mkdir(parents=True, exist_ok=True)
        content = (prepared / crop).read_bytes()
        (copies / label / f"{row}{Path(crop).suffix}").write_bytes(content)
        with Image.open(prepared / crop) as image:
            image.convert("RGB").save(png / label / f"{row}.png")


def check_equal(ours: Ours, theirs: list[DataLoader]) -> int:
    """Compare the images and labels of one epoch of `ours` with those of the same faces in `theirs`, bit for bit.

    Returns:
        The number of images, each compared with all of `theirs`.

    Raises:
        SystemExit: an image or a label differs.
    """
    datasets = [loader.dataset for loader in theirs]
    places = [{faces.row(index): index for index in range(len(faces))} for faces in datasets]
    compared = 0
    for batch in ours:
        for image, label, row in zip(batch["image"], batch["label"].tolist(), batch["index"].tolist(), strict=True):
            for faces, place in zip(datasets, places, strict=True):
                expected, class_index = faces[place[row]]
                if not torch.equal(image, expected) or CLASS_NAMES[label] != faces.classes[class_index]:
                    worst = (image - expected).abs().max().item()
                    raise SystemExit(f"Row {row} differs from {faces.root} by up to {worst:.2g}: nothing is timed.")
            compared += 1
    return compared


def images_per_second(loaders: list[DataLoader | Ours], rounds: int) -> list[float]:
    """Median over `rounds` epochs of each loader, alternating, after a first epoch that starts workers and caches."""
    rates: list[list[float]] = [[] for _ in loaders]
    for _ in range(1 + rounds):
        for loader, of_loader in zip(loaders, rates, strict=True):
            start = time.perf_counter()
            images = sum(len(batch["image"] if isinstance(batch, dict) else batch[0]) for batch in loader)
            of_loader.append(images / (time.perf_counter() - start))
    return [median(of_loader[1:]) for of_loader in rates]


def size_on_disk(folder: Path) -> str:
    """Mean size of the files in `folder` and its subfolders."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return f"{sum(sizes) / len(sizes) / 1000:.1f} kB"


def compare(
    prepared: Path, scratch: Path, settings: list[Setting], count: int, rounds: int, done: Callable[[str], None]
) -> tuple[list[list[float]], dict[str, str]]:
    """Check that the programs load equal batches, then measure their speed.

    Args:
        prepared: the prepared folder.
        scratch: empty folder for the class folders.
        settings: the rows of the table.
        count: number of faces per epoch, half of them real; fewer if the folder has fewer.
        rounds: number of timed epochs per loader.
        done: called with a line of text after each setting.

    Returns:
        Images/s of each setting and program, and the mean file size of each file format.

    Raises:
        SystemExit: the tensors differ.
    """
    manifest = read_manifest(prepared)
    rows = balance(manifest, np.arange(len(manifest)), count // 2, SEED)
    png, copies = scratch / "png", scratch / "copies"
    write_class_folders(prepared, rows, png, copies)
    landmarks = manifest[LANDMARK_COLUMNS].to_numpy(dtype=np.float32).reshape(-1, 5, 2)
    table = []
    for setting in settings:
        theirs = [their_loader(folder, landmarks, setting) for folder in (png, copies)]
        ours = Ours(prepared, rows, setting)
        compared = check_equal(ours, theirs)
        table.append(images_per_second([*theirs, ours], rounds))
        rates = ", ".join(f"{rate:.0f}" for rate in table[-1])
        done(f"{setting}: {compared} images bit-equal; images/s {rates}")
    return table, {"PNG": size_on_disk(png), "our files": size_on_disk(copies)}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.loading",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--prepared", type=Path, help="a prepared folder; without it, faces are drawn")
    parser.add_argument("--images", type=int, default=320, help="faces per epoch (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="epochs timed per loader (default: %(default)s)")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2], help="numbers of workers (default: 0 2)")
    known = sorted(path.stem for path in (CONF / "augmentation").glob("*.yaml") if path.stem != "facial_swap")
    default = ["none", "random_flips", "standard"]
    parser.add_argument("--augmentations", nargs="+", choices=known, default=default, help=f"default: {default}")
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    console = Console(soft_wrap=True, highlight=False)
    console.print(describe_machine(LIBRARIES))
    settings = [Setting(*values) for values in product(options.augmentations, FACES, options.workers)]
    with tempfile.TemporaryDirectory() as scratch:
        prepared = options.prepared or draw_faces(Path(scratch) / "drawn", options.images)
        table, sizes = compare(
            prepared,
            Path(scratch),
            settings,
            options.images,
            options.rounds,
            Console(stderr=True, soft_wrap=True, highlight=False).print,
        )
    title = "Training faces, images/s: drawn faces (SYNTHETIC)" if not options.prepared else "Training faces, images/s"
    report = Table("augmentation", "faces", "workers", *PROGRAMS, "ours / PNG", "ours / our files", title=title)
    for setting, rates in zip(settings, table, strict=True):
        cells = [f"{rate:.0f}" for rate in rates] + [f"{rates[-1] / rate:.1f}×" for rate in rates[:-1]]
        report.add_row(setting.augmentation, setting.faces, str(setting.workers), *cells)
    console.print(report)
    console.print("Mean file: " + ", ".join(f"{name} {size}" for name, size in sizes.items()) + ".")


if __name__ == "__main__":
    main()
