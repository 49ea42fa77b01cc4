"""Conversion of all kinds of still images to RGB, and the reasons given for unreadable ones."""

import struct
import warnings

import cv2
import numpy as np
import pytest
from drawn import picture
from PIL import Image, ImageOps

from deepfake_ms.preprocessing.images import read_image
from deepfake_ms.preprocessing.media import UnreadableMedia

HTML = b"<!DOCTYPE html><html><body>404: picture not found</body></html>" * 40


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK"])
def test_every_kind_of_image_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.new("RGB", (30, 20), (153, 153, 153)).convert(mode).save(path)
    image = read_image(path)
    assert image.shape == (20, 30, 3)
    assert image.dtype == np.uint8
    assert np.allclose(image, 153, atol=4)


def test_exif_orientation_is_applied(tmp_path):
    upright = picture((20, 20, 24))
    exif = Image.Exif()
    exif[0x0112] = 6  # displayed after a quarter turn clockwise
    Image.fromarray(np.rot90(upright)).save(tmp_path / "a.png", exif=exif)
    assert (read_image(tmp_path / "a.png") == upright).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_exif_orientations_are_as_in_pil(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture((20, 20, 24))).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert (read_image(tmp_path / "a.png") == expected).all()


def _exif_entry(tag, kind, count, value):
    return struct.pack("<HHI4s", tag, kind, count, value)


@pytest.mark.parametrize(
    ("entry", "turned"),
    [
        (_exif_entry(0x011A, 2, 4, b"abc\0"), True),  # the resolution as text
        (_exif_entry(0x0128, 2, 4, b"abc\0"), True),  # its unit as text
        (_exif_entry(0x0132, 5, 1, b"\x08\0\0\0"), True),  # the date as a fraction
        (_exif_entry(0x8769, 9, 1, b"\xff\xff\xff\xff"), True),  # a part that lies before the file's beginning
        (_exif_entry(0x0112, 2, 4, b"six\0"), False),  # the orientation as text
        (b"", False),  # fewer entries than announced
    ],
)
def test_an_image_with_damaged_exif_is_read(tmp_path, entry, turned):
    """If the orientation is readable, it is applied."""
    orientation = _exif_entry(0x0112, 3, 1, b"\6\0\0\0") if turned else b""
    entries = orientation + entry
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + entries + b"\0\0\0\0"
    Image.fromarray(picture((20, 20, 24))).save(tmp_path / "a.jpg", exif=exif)
    height, width = picture().shape[:2]
    assert read_image(tmp_path / "a.jpg").shape == ((width, height, 3) if turned else (height, width, 3))


def test_any_error_of_a_plugin_is_damage(tmp_path, monkeypatch):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", lambda _: 1 // 0)
    with pytest.raises(UnreadableMedia, match="damaged: "):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
def test_unreadable_images_give_a_reason(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableMedia, match=r"damaged|not an image"):
        read_image(path)
    path.write_bytes(b"")
    with pytest.raises(UnreadableMedia, match="zero bytes"):
        read_image(path)
    path.write_bytes(HTML)
    with pytest.raises(UnreadableMedia, match="not an image"):
        read_image(path)


def test_colours_survive_cmyk(tmp_path):
    image = picture((20, 20, 24))
    Image.fromarray(image).convert("CMYK").save(tmp_path / "a.jpg", quality=95)  # inverted, with an Adobe marker
    Image.fromarray(image).convert("CMYK").save(tmp_path / "a.tif")
    for name in ("a.jpg", "a.tif"):
        assert np.abs(read_image(tmp_path / name).astype(int) - image).mean() < 3


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_16_bit_grey_is_scaled(tmp_path, name):
    grey = np.array([[0, 257, 300 * 100, 65535]], np.uint16).repeat(5, 0)
    if name == "a.pgm":
        (tmp_path / name).write_bytes(b"P5 4 5 65535\n" + grey.astype(">u2").tobytes())
    else:
        Image.fromarray(grey).save(tmp_path / name)
    image = read_image(tmp_path / name)
    assert image.shape == (5, 4, 3)
    assert (image == np.array([0, 1, 117, 255], np.uint8)[None, :, None]).all()


def test_16_bit_colour_is_scaled(tmp_path):
    rgb = np.array([[[65535, 30000, 0]] * 4] * 5, np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), rgb[..., ::-1])
    assert np.allclose(read_image(tmp_path / "a.png"), [255, 117, 0], atol=1)


@pytest.mark.parametrize(("value", "mode"), [(0.5, "floating point"), (70_000, "32 bits")])
def test_grey_of_unknown_range_is_refused(tmp_path, value, mode):
    Image.fromarray(np.full((4, 4), value, np.float32 if mode == "floating point" else np.int32)).save(
        tmp_path / "a.tif"
    )
    with pytest.raises(UnreadableMedia, match=mode):
        read_image(tmp_path / "a.tif")


def test_alpha_of_a_palette_is_dropped(tmp_path):
    image = Image.fromarray(picture((20, 20, 24))).quantize(16)
    image.save(tmp_path / "a.png", transparency=bytes(range(16)))
    with warnings.catch_warnings(action="error"):
        assert (read_image(tmp_path / "a.png") == np.asarray(image.convert("RGB"))).all()


def test_one_pixel(tmp_path):
    Image.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").tolist() == [[[1, 2, 3]]]


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_an_animation_gives_its_first_frame(tmp_path, suffix):
    shades = [Image.new("RGB", (16, 16), (shade, shade, shade)) for shade in (40, 200)]
    shades[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=shades[1:], duration=100)
    assert np.allclose(read_image(tmp_path / f"a{suffix}"), 40, atol=3)


def test_the_content_decides_the_format(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "a.jpg", format="png")
    assert (read_image(tmp_path / "a.jpg") == picture()).all()


def test_large_images_are_read_without_warning_and_huge_ones_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    Image.new("L", (50, 30)).save(tmp_path / "large.png")
    Image.new("L", (50, 41)).save(tmp_path / "huge.png")
    with warnings.catch_warnings(action="error"):
        assert read_image(tmp_path / "large.png").shape == (30, 50, 3)
        with pytest.raises(UnreadableMedia, match=r"too large: .*2050 pixels.* limit of 2000 pixels"):
            read_image(tmp_path / "huge.png")


def test_a_folder_is_not_an_image(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(UnreadableMedia, match="folder"):
        read_image(tmp_path / "a.png")
