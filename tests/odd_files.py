"""Files as users have them: damaged, mislabelled, unusual or empty; each with what should become of it."""

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from drawn import picture, write_sound, write_video
from PIL import Image

SCORED, ABSTAINED, UNREADABLE = "scored", "abstained", "unreadable"
FACE = (60, 50, 40)
HTML = b"<!DOCTYPE html><html><body>404: not found</body></html>" * 40
SVG = b"<svg xmlns='http://www.w3.org/2000/svg'/>"
LONG_NAME = "n" * 240 + ".mp4"


@dataclass(frozen=True)
class Odd:
    """A file.

    Attributes:
        name: below the folder; bytes if it is not UTF-8.
        make: writes it to a path.
        status: expected.
        reason: expected, a regular expression; None if there must be none.
    """

    name: str | bytes
    make: Callable[[Path], object]
    status: str
    reason: str | None = None

    def path(self, folder: Path) -> Path:
        return folder / os.fsdecode(self.name)


def clip(seconds: float = 2.0, *faces, **options) -> Callable[[Path], Path]:
    """A video with 10 frames per second and a red square."""
    images = [picture(*(faces or (FACE,)))] * round(seconds * 10 + 1)
    return lambda path: write_video(path, images, **options)


def image(mode: str = "RGB", pixels: np.ndarray | None = None, **options) -> Callable[[Path], None]:
    """A still image with a red square."""
    shown = Image.fromarray(picture(FACE) if pixels is None else pixels)
    return lambda path: shown.convert(mode).save(path, **options)


def cut(make: Callable[[Path], object], share: float) -> Callable[[Path], None]:
    """Only the beginning of a file."""

    def write(path: Path) -> None:
        make(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    return write


def moved(make: Callable[[Path], object], suffix: str) -> Callable[[Path], None]:
    """A file of another type than its name says."""

    def write(path: Path) -> None:
        other = path.with_name(f"other{suffix}")
        make(other)
        other.rename(path)

    return write


def content(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def animation(frames: int) -> Callable[[Path], None]:
    pictures = [Image.fromarray(picture((60 + number, 50, 40))) for number in range(frames)]

    def write(path: Path) -> None:
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=500)

    return write


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(picture(FACE))).save(path, exif=exif)


def flipped_bits(path: Path) -> None:
    clip()(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def deep_colour(path: Path) -> None:
    """10 bits per channel with the transfer function of HDR10."""

    def set_stream(stream):
        stream.codec_context.color_trc, stream.codec_context.color_primaries = 16, 9

    write_video(
        path,
        [picture(FACE)] * 21,
        codec="libx265",
        pixel_format="yuv420p10le",
        set_stream=set_stream,
    )


def long_video(path: Path) -> None:
    """Three hours, with a frame every three minutes."""
    write_video(path, [picture(FACE)] * 61, times=[180 * number for number in range(61)])


def odd_sides(path: Path) -> None:
    write_video(path, [picture(FACE, height=97, width=131)] * 21, codec="ffv1")


def crowd() -> np.ndarray:
    faces = [(20 + 30 * column, 20 + 30 * row, 20) for column in range(20) for row in range(10)]
    return picture(*faces, height=320, width=640)


def large() -> np.ndarray:
    return picture((3000, 2000, 1500), height=4320, width=7680)


def bomb(path: Path) -> None:
    """A PNG that claims 65,000 × 65,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 65000, 65000, 8, 6, 0, 0, 0)
    parts = [
        b"\x89PNG\r\n\x1a\n",
        struct.pack(">I", 13),
        header,
        struct.pack(">I", zlib.crc32(header)),
        b"\0\0\0\x64IDAT",
        bytes(100),
    ]
    path.write_bytes(b"".join(parts))


ODD = [
    Odd("good.mp4", clip(), SCORED),
    Odd("zero.mp4", content(b""), UNREADABLE, "zero bytes"),
    Odd("zero.jpg", content(b""), UNREADABLE, "zero bytes"),
    Odd("page.mp4", content(HTML), UNREADABLE, "not a video"),
    Odd("page.jpg", content(HTML), UNREADABLE, "not an image"),
    Odd("noise.mp4", content(np.random.default_rng(0).bytes(5000)), UNREADABLE, "not a video"),
    Odd("noise.png", content(np.random.default_rng(1).bytes(5000)), UNREADABLE, "not an image"),
    Odd("archive.mp4", content(b"PK\x03\x04" + bytes(3000)), UNREADABLE, "not a video"),
    Odd("cut_before_index.mp4", cut(clip(), 0.5), UNREADABLE, "cut off before its index"),
    Odd("cut_after_index.mp4", cut(clip(options={"movflags": "faststart"}), 0.6), UNREADABLE, "truncated"),
    Odd("cut.mkv", cut(clip(4), 0.5), UNREADABLE, "truncated|damaged"),
    Odd("cut.avi", cut(clip(4), 0.8), UNREADABLE, "truncated|damaged"),
    Odd("cut.jpg", cut(image(), 0.5), UNREADABLE, "damaged"),
    Odd("cut.png", cut(image(), 0.5), UNREADABLE, "damaged"),
    Odd("sound.mp4", write_sound, UNREADABLE, "no video stream"),
    Odd("one_frame.mp4", clip(0), ABSTAINED, "only 1 frame"),
    Odd("two_frames.mp4", clip(0.5), ABSTAINED, "only 2 frames"),
    Odd("nobody.mp4", lambda path: write_video(path, [picture()] * 21), ABSTAINED, "no face"),
    Odd("nobody.png", image(pixels=picture()), ABSTAINED, "no face"),
    Odd("face.png", image(), SCORED),
    Odd("crowd.png", image(pixels=crowd()), SCORED),
    Odd("large_8k.png", image(pixels=large(), compress_level=1), SCORED),
    Odd("bomb.png", bomb, UNREADABLE, "too large"),
    Odd("rotated.mp4", clip(rotation=90), SCORED),
    Odd("rotated.jpg", turned, SCORED),
    Odd("hdr.mp4", deep_colour, SCORED),
    Odd("alpha.png", image("RGBA"), SCORED),
    Odd("alpha.mov", clip(codec="qtrle", pixel_format="argb"), SCORED),
    Odd("animated.gif", animation(6), SCORED),
    Odd("still.gif", animation(1), ABSTAINED, "only 1 frame"),
    Odd("animated.webp", animation(6), SCORED),
    Odd("animated.png", animation(6), SCORED),
    Odd("long.mp4", long_video, SCORED),
    Odd("variable_rate.mkv", lambda path: write_video(path, [picture(FACE)] * 5, times=[0, 0.6, 3, 3.1, 9]), SCORED),
    Odd(
        "odd_sides.mkv",
        lambda path: write_video(path, [picture(FACE, height=97, width=131)] * 21, codec="ffv1"),
        SCORED,
    ),
    Odd("name with spaces.mp4", clip(), SCORED),
    Odd("new\nline\t.mp4", clip(), SCORED),
    Odd(b"caf\xe9.mp4", moved(clip(), ".mp4"), SCORED),
    Odd("ünï😀.mp4", clip(), SCORED),
    Odd("[bold]markup[/bold].mp4", clip(), SCORED),
    Odd("<script>alert(1)</script>.png".replace("/", ""), image(), SCORED),
    Odd("playlist.mp4", content(b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n" * 40), UNREADABLE, "not a video"),
    Odd("list.mp4", content(b"ffconcat version 1.0\nfile good.mp4\n"), UNREADABLE, "not a video"),
    Odd("12:30 interview.mp4", clip(), SCORED),
    Odd("100%.png", image(), SCORED),
    Odd(LONG_NAME, clip(), SCORED),
    Odd("notes.txt", content(b"just some text\n" * 50), UNREADABLE, "not a video"),
    Odd("drawing.svg", content(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), UNREADABLE, "not a video"),
    Odd("video_without_suffix", moved(clip(), ".mp4"), SCORED),
    Odd("image_without_suffix", moved(image(), ".png"), SCORED),
    Odd("picture.mp4", moved(image(), ".png"), ABSTAINED, "only 1 frame"),
    Odd("film.jpg", moved(clip(), ".mp4"), UNREADABLE, "not an image"),
    Odd("grey.png", image("L"), ABSTAINED, "no face"),
    Odd("sixteen_bits.png", image("I;16", np.full((96, 128), 40, np.uint8)), ABSTAINED, "no face"),
    Odd("print.jpg", image("CMYK"), SCORED),
    Odd("palette.png", image("P"), SCORED),
    Odd("float.tiff", image("F"), UNREADABLE, "floating point"),
    Odd("pixel.png", image(pixels=np.zeros((1, 1, 3), np.uint8)), ABSTAINED, "no face"),
    Odd("line.png", image(pixels=np.zeros((1, 3000, 3), np.uint8)), ABSTAINED, "no face"),
]


def write_all(folder: Path, wanted: Callable[[Odd], bool] = lambda odd: True) -> Iterator[Odd]:
    """Write the wanted files into a folder, as far as its file system takes their names."""
    folder.mkdir(parents=True, exist_ok=True)
    for odd in filter(wanted, ODD):
        try:
            odd.make(odd.path(folder))
        except OSError:
            if not isinstance(odd.name, bytes):
                raise
            continue  # macOS takes UTF-8 only
        yield odd
