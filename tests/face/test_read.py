"""Every kind of file that albums hold either becomes the right pixels or is refused in one sentence."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from idfsr_jax.face import read_image, read_picture
from idfsr_jax.io.errors import UnreadableImage

FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"]


def upright() -> np.ndarray:
    """32 x 48 pixels in six flat tiles of different colours, so that no turn or mirror image looks the same."""
    tiles = np.array([[[250, 0, 0], [0, 250, 0], [0, 0, 250]], [[250, 250, 0], [0, 250, 250], [250, 0, 250]]], np.uint8)
    return tiles.repeat(16, axis=0).repeat(16, axis=1)


# How a camera stores an upright picture under each orientation (EXIF 2.32, tag 0x0112), in NumPy's words.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


def png(width: int, height: int, depth: int, color_type: int, data: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def refusal(path: Path, **kwargs) -> str:
    with pytest.raises(UnreadableImage) as caught:
        read_image(path, **kwargs)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message and message.endswith(".")
    return message


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format(tmp_path, kind):
    path = tmp_path / "picture"
    Image.fromarray(upright()).save(path, kind)
    image = read_image(path)
    assert image.dtype == np.uint8 and image.flags.writeable
    tolerance = 30 if kind in ("JPEG", "WEBP") else 0
    centers = (slice(8, None, 16), slice(8, None, 16))
    np.testing.assert_allclose(image[centers].astype(int), upright()[centers].astype(int), atol=tolerance)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, kind, orientation):
    path = tmp_path / "picture"
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright())))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(path, kind, exif=exif, **({"quality": 100, "subsampling": 0} if kind == "JPEG" else {}))
    image = read_image(path)
    assert image.shape == (32, 48, 3)
    np.testing.assert_allclose(image.astype(int), upright().astype(int), atol=4 if kind == "JPEG" else 0)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_impossible_orientation_is_ignored(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(upright()).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), upright())


def test_damaged_exif_is_ignored(tmp_path):
    Image.fromarray(upright()).save(tmp_path / "a.jpg", quality=100, subsampling=0, exif=b"Exif\0\0II*\0\xff\xff\0\0")
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg").astype(int), upright().astype(int), atol=4)


def test_one_bit(tmp_path):
    bits = np.eye(9, 20, dtype=bool)
    Image.fromarray(bits).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.repeat(bits[..., None] * np.uint8(255), 3, 2))


def test_grey(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(grey).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.repeat(grey[..., None], 3, 2))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_sixteen_bit_grey_is_scaled(tmp_path, name):
    grey = np.arange(256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(grey * 257).save(tmp_path / name)
    np.testing.assert_array_equal(read_image(tmp_path / name), np.repeat(grey[..., None].astype(np.uint8), 3, 2))


def test_sixteen_bit_big_endian_tiff(tmp_path):
    grey = np.arange(256, dtype=np.uint16).reshape(16, 16)
    Image.frombytes("I;16B", (16, 16), (grey * 257).astype(">u2").tobytes()).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[..., 0], grey)


def test_sixteen_bit_rounds_to_nearest(tmp_path):
    grey = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(grey).save(tmp_path / "a.png")
    expected = np.round(grey / 257.0).astype(np.uint8)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[..., 1], expected)


def test_sixteen_bit_rgb(tmp_path):
    values = np.array([[[0, 1, 2], [253, 254, 255]]], np.uint16)
    (tmp_path / "a.png").write_bytes(png(2, 1, 16, 2, b"\0" + (values * 257).astype(">u2").tobytes()))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), values.astype(np.uint8))


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_pixels_of_unknown_range_are_refused(tmp_path, dtype):
    Image.fromarray(np.full((4, 4), 1_000_000, dtype)).save(tmp_path / "a.tif")
    assert "unknown range" in refusal(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["a.tif", "a.jpg"])
def test_cmyk(tmp_path, name):
    ink = {(0, 0, 0, 0): (255, 255, 255), (0, 0, 0, 255): (0, 0, 0), (0, 255, 255, 0): (255, 0, 0)}
    ink[(255, 0, 0, 0)] = (0, 255, 255)
    pixels = np.array(list(ink), np.uint8)[None].repeat(16, 0).repeat(16, 1)
    options = {"quality": 100, "subsampling": 0} if name == "a.jpg" else {}
    Image.frombytes("CMYK", (64, 16), pixels.tobytes()).save(tmp_path / name, **options)
    image = read_image(tmp_path / name)
    np.testing.assert_allclose(image[8, 8::16].astype(int), np.array(list(ink.values())), atol=3)


def test_palette(tmp_path):
    Image.fromarray(upright()).quantize(6).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "P"
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), upright())


def test_palette_with_transparency(tmp_path):
    image = Image.new("P", (4, 2), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((3, 1), 1)
    image.save(tmp_path / "a.png", transparency=0)
    pixels = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels[0, 0], [255, 255, 255])
    np.testing.assert_array_equal(pixels[1, 3], [200, 100, 50])


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif"])
def test_alpha_lies_over_white(tmp_path, name):
    rgba = np.zeros((3, 1, 4), np.uint8)
    rgba[:, 0] = [(10, 20, 30, 255), (10, 20, 30, 51), (10, 20, 30, 0)]
    Image.fromarray(rgba).save(tmp_path / name, **({"lossless": True, "exact": True} if name == "a.webp" else {}))
    expected = rgba[..., :3] * (rgba[..., 3:] / 255) + 255 * (1 - rgba[..., 3:] / 255)
    np.testing.assert_allclose(read_image(tmp_path / name), expected, atol=1)


def test_grey_with_alpha(tmp_path):
    pixels = np.array([[[100, 255], [100, 0]]], np.uint8)
    Image.frombytes("LA", (2, 1), pixels.tobytes()).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), [[[100] * 3, [255] * 3]])


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animation_gives_its_first_frame_and_further_ones_are_named(tmp_path, kind):
    frames = [Image.new("RGB", (20, 10), color) for color in [(255, 0, 0), (0, 0, 255)]]
    options = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(tmp_path / "a", kind, save_all=True, append_images=frames[1:], **options)
    picture = read_picture(tmp_path / "a")
    np.testing.assert_array_equal(picture.pixels, np.full((10, 20, 3), (255, 0, 0), np.uint8))
    assert "holds 2 pictures, of which the first was taken" in picture.notes[0]


@pytest.mark.parametrize("kind", [*FORMATS, "progressive"])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.99])
def test_truncated(tmp_path, astronaut, kind, share):
    path = tmp_path / "a.jpg"
    if kind == "progressive":
        Image.fromarray(astronaut).save(path, "JPEG", progressive=True)
    else:
        Image.fromarray(astronaut).save(path, kind)
    read_image(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    refusal(path)


@pytest.mark.parametrize("lost", [1, 2, 10, 100])
def test_jpeg_without_its_last_bytes(tmp_path, astronaut, lost):
    path = tmp_path / "a.jpg"
    Image.fromarray(astronaut).save(path)
    path.write_bytes(path.read_bytes()[:-lost])
    assert "damaged or cut short" in refusal(path)


@pytest.mark.parametrize("side", [10_001, 12_000, 60_000])
def test_pixel_cap_comes_before_decoding(tmp_path, side):
    # Had the decoder been asked first, it would have complained about the missing pixels.
    (tmp_path / "a.png").write_bytes(png(side, side, 8, 2, b""))
    assert "100,000,000" in refusal(tmp_path / "a.png")


def test_pixel_cap_is_exact(tmp_path):
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", max_pixels=200).shape == (10, 20, 3)
    assert "20 x 10" in refusal(tmp_path / "a.png", max_pixels=199)


def test_between_pillows_limit_and_ours(tmp_path, monkeypatch):
    """Pillow warns of large pictures well below our cap; that must neither refuse nor show."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 150)
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").shape == (10, 20, 3)


@pytest.mark.parametrize(
    "content", [b"this is no picture\n" * 9, b"\xff\xd8", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"]
)
def test_not_a_picture(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    refusal(tmp_path / "a.jpg")


def test_empty_file(tmp_path):
    (tmp_path / "a.jpg").touch()
    assert ": is empty" in refusal(tmp_path / "a.jpg")


def test_directory(tmp_path):
    assert ": is a folder" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["nowhere.jpg", "no/where.jpg", "x" * 300])
def test_missing(tmp_path, name):
    refusal(tmp_path / name)


def test_path_through_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    refusal(tmp_path / "a" / "b.jpg")


@pytest.mark.timeout(10)
def test_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    assert ": is a pipe" in refusal(tmp_path / "a.jpg")
