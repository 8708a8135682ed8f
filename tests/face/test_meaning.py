"""What is read is what the file means: colours by their profile, ranges, opacity, dates; and damage is named."""

import datetime
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from idfsr_jax.face import read_image, read_metadata, read_picture, write_image
from idfsr_jax.face.colour import matrix_profile
from idfsr_jax.io.errors import UnreadableImage

P3 = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
ADOBE = (0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
SRGB = (0.3127, 0.329, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)


def colours() -> np.ndarray:
    """Six flat tiles, no colour beyond sRGB when read as a wider space."""
    tiles = np.array([[[180, 120, 100], [90, 130, 80], [70, 80, 160]], [[200, 200, 200], [30, 60, 50], [128, 90, 140]]])
    return tiles.astype(np.uint8).repeat(16, axis=0).repeat(16, axis=1)


def by_hand(pixels: np.ndarray, primaries: tuple[float, ...], gamma: float) -> np.ndarray:
    """To sRGB by the matrices of the primaries (IEC 61966-2-1), in float64; all have the white D65."""

    def to_xyz(p: tuple[float, ...]) -> np.ndarray:
        xyz = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in zip(p[::2], p[1::2], strict=True)]).T
        return xyz[:, 1:] * np.linalg.solve(xyz[:, 1:], xyz[:, 0])

    linear = (pixels / 255.0) ** gamma @ (np.linalg.inv(to_xyz(SRGB)) @ to_xyz(primaries)).T
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def near(found: np.ndarray, expected: np.ndarray, levels: float = 1.6) -> None:
    np.testing.assert_allclose(found[8::16, 8::16].astype(float), expected[8::16, 8::16], atol=levels)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp", "a.jpg"])
def test_a_profile_is_followed(tmp_path, name):
    options = {"lossless": True} if name == "a.webp" else {"quality": 100, "subsampling": 0} if name == "a.jpg" else {}
    Image.fromarray(colours()).save(tmp_path / name, icc_profile=matrix_profile(P3, 2.2), **options)
    expected = by_hand(colours(), P3, 2.2)
    assert np.abs(expected - colours()).max() > 8
    near(read_image(tmp_path / name), expected, 2.6 if name == "a.jpg" else 1.6)
    assert read_picture(tmp_path / name).notes == ()


def test_srgb_itself_changes_no_pixel(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png", icc_profile=profile)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), noise)


def test_a_profile_of_palettes_grey_and_transparency(tmp_path):
    profile = matrix_profile(P3, 2.2)
    expected = by_hand(colours(), P3, 2.2)
    Image.fromarray(colours()).quantize(6).save(tmp_path / "palette.png", icc_profile=profile)
    near(read_image(tmp_path / "palette.png"), expected)
    seen = Image.fromarray(colours())
    seen.putalpha(128)
    seen.save(tmp_path / "rgba.png", icc_profile=profile)
    near(read_image(tmp_path / "rgba.png"), expected * 128 / 255 + 255 * 127 / 255)
    # Grey of an RGB profile has no colour, and one of gamma 2.2 is nearly that of sRGB.
    grey = Image.fromarray(colours()).convert("L")
    grey.save(tmp_path / "grey.png", icc_profile=profile)
    near(read_image(tmp_path / "grey.png"), np.asarray(grey)[..., None].repeat(3, 2), 6)
    assert np.ptp(read_image(tmp_path / "grey.png").astype(int), axis=-1).max() <= 1


def cmyk_profile() -> bytes:
    """An ICC profile of a printer whose inks make Lab by a table of its 16 corners: L* falls with black alone."""
    corners = [(255 if not (i & 1) else 0, 128, 128) for i in range(16)]  # Of the four, K varies fastest.
    identity = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0])
    table += struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table += identity * 4 + bytes(value for corner in corners for value in corner) + identity * 3
    parts = [
        (b"desc", b"desc" + bytes(4) + struct.pack(">I", 2) + b"x\0" + bytes(78)),
        (b"wtpt", b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)),
        (b"A2B0", table),
        (b"A2B1", table),
    ]
    index, body, offset = b"", b"", 132 + 12 * len(parts)
    for tag, data in parts:
        index += tag + struct.pack(">II", offset + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s", offset + len(body), bytes(4), 0x02400000, b"prtr", b"CMYK", b"Lab ")
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(parts)) + index + body


@pytest.mark.parametrize("name", ["a.tif", "a.jpg"])
def test_cmyk_by_its_profile(tmp_path, name):
    """Cyan, which is black ink's light in this profile, is none of a screen's cyan."""
    inks = np.zeros((16, 48, 4), np.uint8)
    inks[:, 16:32, 3], inks[:, 32:, 0] = 255, 255
    options = {"quality": 100, "subsampling": 0} if name == "a.jpg" else {}
    Image.frombytes("CMYK", (48, 16), inks.tobytes()).save(tmp_path / name, icc_profile=cmyk_profile(), **options)
    found = read_image(tmp_path / name)[8, 8::16].astype(int)
    np.testing.assert_allclose(found, [[255] * 3, [0] * 3, [255] * 3], atol=4)


def test_lab(tmp_path):
    """L* 53.24, a* 80.09, b* 67.20 is sRGB's red (Lindbloom's calculator, D65 to D50 adapted: 54.29, 80.81, 69.89)."""
    lab = np.zeros((16, 16, 3), np.uint8)
    lab[:] = (round(54.29 * 2.55), 81, 70)
    image = Image.frombytes("LAB", (16, 16), lab.tobytes())
    image.save(tmp_path / "a.tif")
    np.testing.assert_allclose(read_image(tmp_path / "a.tif")[8, 8].astype(int), [255, 0, 0], atol=6)


@pytest.mark.parametrize(
    ("profile", "said"), [(b"no profile at all" * 20, "damaged"), (cmyk_profile(), "one for CMYK")]
)
def test_a_wrong_profile_is_left_out_and_named(tmp_path, profile, said):
    Image.fromarray(colours()).save(tmp_path / "a.png", icc_profile=profile)
    picture = read_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.pixels, colours())
    assert len(picture.notes) == 1 and said in picture.notes[0] and "profile" in picture.notes[0]


def test_adobe_rgb_by_exif_alone(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 0xFFFF
    exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
    Image.fromarray(colours()).save(tmp_path / "a.jpg", quality=100, subsampling=0, exif=exif)
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.getexif().get_ifd(0xA005).get(1) == "R03"
    near(read_image(tmp_path / "a.jpg"), by_hand(colours(), ADOBE, 563 / 256), 2.6)


def test_gamma_and_primaries_of_a_png(tmp_path):
    info = PngInfo()
    info.add(b"gAMA", struct.pack(">I", 55_556))
    Image.fromarray(colours()).save(tmp_path / "mac.png", pnginfo=info)
    near(read_image(tmp_path / "mac.png"), by_hand(colours(), SRGB, 1.8), 2)
    info = PngInfo()
    info.add(b"gAMA", struct.pack(">I", 45_455))
    info.add(b"cHRM", struct.pack(">8I", *(round(value * 1e5) for value in P3)))
    Image.fromarray(colours()).save(tmp_path / "p3.png", pnginfo=info)
    near(read_image(tmp_path / "p3.png"), by_hand(colours(), P3, 2.2))
    info = PngInfo()
    info.add(b"gAMA", struct.pack(">I", 45_455))
    Image.fromarray(colours()).save(tmp_path / "usual.png", pnginfo=info)
    np.testing.assert_array_equal(read_image(tmp_path / "usual.png"), colours())


RAMP = np.arange(256, dtype=np.uint16).reshape(16, 16)


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_the_range_of_deep_grey_is_found(tmp_path, name, bits):
    top = 2**bits - 1
    Image.fromarray(np.round(RAMP * (top / 255)).astype(np.uint16)).save(tmp_path / name)
    picture = read_picture(tmp_path / name)
    np.testing.assert_array_equal(picture.pixels[..., 1], RAMP)
    assert f"({bits} bits)" in picture.notes[0]


def test_a_file_that_says_its_range_is_believed(tmp_path):
    dark = (RAMP * 16).astype(">u2")  # At most 4080, of 65535.
    (tmp_path / "a.pgm").write_bytes(b"P5 16 16 65535\n" + dark.tobytes())
    assert read_image(tmp_path / "a.pgm").max() == 16
    (tmp_path / "b.pgm").write_bytes(b"P5 16 16 4095\n" + dark.tobytes())
    assert read_image(tmp_path / "b.pgm").max() == 254 and read_picture(tmp_path / "b.pgm").notes == ()
    Image.fromarray(dark.astype(np.uint16)).save(tmp_path / "a.tif", tiffinfo={281: 65_535})
    assert read_image(tmp_path / "a.tif").max() == 16 and read_picture(tmp_path / "a.tif").notes == ()


def test_white_is_zero(tmp_path):
    Image.fromarray(RAMP * 257).save(tmp_path / "a.tif", tiffinfo={262: 0})
    with Image.open(tmp_path / "a.tif") as image:
        assert image.tag_v2[262] == 0
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[..., 0], 255 - RAMP)


def deep_png(values: np.ndarray, kind: int) -> bytes:
    """A PNG of 16 bits a channel; kind 2 is RGB, 6 RGBA."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("kind", [2, 6])
def test_the_range_of_deep_colours_is_found(tmp_path, bits, kind):
    values = np.random.default_rng(0).integers(0, 256, (16, 16, 3 if kind == 2 else 4))
    values[0, 0] = 255
    values[..., 3:] = 255
    (tmp_path / "a.png").write_bytes(deep_png(np.round(values * ((2**bits - 1) / 255)).astype(np.uint16), kind))
    picture = read_picture(tmp_path / "a.png")
    np.testing.assert_allclose(picture.pixels.astype(int), values[..., :3], atol=0 if bits < 16 else 1)
    assert bool(picture.notes) == (bits < 16)


def test_opacity_goes_through(tmp_path, astronaut):
    opacity = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))
    seen = Image.fromarray(astronaut[:64, :64])
    seen.putalpha(Image.fromarray(opacity))
    seen.save(tmp_path / "in.png")
    origin = read_picture(tmp_path / "in.png")
    np.testing.assert_array_equal(origin.alpha, opacity)
    write_image(tmp_path / "out.png", origin.pixels, origin=origin)
    again = read_picture(tmp_path / "out.png")
    np.testing.assert_array_equal(again.alpha, opacity)
    np.testing.assert_allclose(again.pixels.astype(int), origin.pixels, atol=2)
    large = np.array(Image.fromarray(origin.pixels).resize((256, 256)))
    write_image(tmp_path / "large.png", large, origin=origin)
    assert read_picture(tmp_path / "large.png").alpha.shape == (256, 256)
    Image.fromarray(astronaut[:8, :8]).convert("RGBA").save(tmp_path / "opaque.png")
    assert read_picture(tmp_path / "opaque.png").alpha is None


@pytest.mark.parametrize("result", ["b.png", "b.jpg"])
@pytest.mark.parametrize("source", ["a.jpg", "a.png", "a.tif"])
def test_dates_and_dots_are_kept_and_the_place_is_not(tmp_path, source, result):
    exif = Image.Exif()
    exif[0x0132], exif[0x010F], exif[0x0112] = "2019:05:04 10:00:00", "a maker", 6
    exif.get_ifd(0x8769)[0x9003] = "2019:05:04 09:59:58"
    exif.get_ifd(0x8769)[0xA431] = "serial number"
    exif.get_ifd(0x8825)[1], exif.get_ifd(0x8825)[2] = "N", (51.0, 30.0, 0.0)
    Image.fromarray(colours()).save(tmp_path / source, dpi=(300, 300), exif=exif)
    origin = read_picture(tmp_path / source)
    assert origin.pixels.shape == (48, 32, 3)
    for place in (False, True):
        write_image(tmp_path / result, origin.pixels, {"Software": "test"}, origin=origin, place=place)
        with Image.open(tmp_path / result) as image:
            image.load()
            kept = image.getexif()
            assert kept[0x0132] == "2019:05:04 10:00:00" and kept[0x010F] == "a maker" and 0x0112 not in kept
            assert round(float(image.info["dpi"][0])) == 300
            if source == "a.tif":  # Pillow writes no parts of EXIF into a TIFF.
                continue
            assert kept.get_ifd(0x8769)[0x9003] == "2019:05:04 09:59:58" and 0xA431 not in kept.get_ifd(0x8769)
            assert dict(kept.get_ifd(0x8825)) == ({1: "N", 2: (51.0, 30.0, 0.0)} if place else {})
        assert read_metadata(tmp_path / result) == {"Software": "test"}


def with_wrong_sum(data: bytes, kind: bytes, flip: bool = False) -> bytes:
    """A PNG whose first chunk of a kind has a wrong sum, or a wrong byte."""
    at = data.index(kind)
    length = struct.unpack(">I", data[at - 4 : at])[0]
    changed = bytearray(data)
    changed[at + 4 + (length // 2 if flip else length)] ^= 0xFF
    return bytes(changed)


@pytest.fixture
def full_png() -> bytes:
    """A PNG with all kinds of things beside its pixels."""
    info, file = PngInfo(), io.BytesIO()
    info.add_text("Comment", "scanned")
    info.add_text("Long", "scanned " * 99, zip=True)
    info.add_itxt("More", "scanned")
    info.add(b"tIME", struct.pack(">HBBBBB", *datetime.datetime(2019, 5, 4).timetuple()[:6]))
    exif = Image.Exif()
    exif[0x0132] = "2019:05:04 10:00:00"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.fromarray(colours()).quantize(6)
    image.save(file, "PNG", pnginfo=info, exif=exif, icc_profile=profile, dpi=(300, 300), transparency=5)
    return file.getvalue()


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt", b"tIME", b"eXIf", b"pHYs", b"iCCP"])
@pytest.mark.parametrize("flip", [False, True])
def test_damage_beside_the_pixels_costs_no_pixel(tmp_path, full_png, kind, flip):
    (tmp_path / "whole.png").write_bytes(full_png)
    (tmp_path / "a.png").write_bytes(with_wrong_sum(full_png, kind, flip))
    whole, picture = read_picture(tmp_path / "whole.png"), read_picture(tmp_path / "a.png")
    assert whole.notes == ()
    np.testing.assert_array_equal(picture.pixels, whole.pixels)
    assert len(picture.notes) == 1 and "damaged" in picture.notes[0]
    assert ("profile" in picture.notes[0]) == (kind == b"iCCP")


def test_damage_with_its_sum_right_costs_no_pixel_either(tmp_path, full_png):
    at = full_png.index(b"zTXt")
    length = struct.unpack(">I", full_png[at - 4 : at])[0]
    body = bytearray(full_png[at + 4 : at + 4 + length])
    body[10:] = b"\xff" * (length - 10)
    changed = full_png[: at + 4] + bytes(body) + struct.pack(">I", zlib.crc32(b"zTXt" + bytes(body)))
    (tmp_path / "a.png").write_bytes(changed + full_png[at + 8 + length :])
    assert read_picture(tmp_path / "a.png").pixels.shape == (32, 48, 3)


def test_transparency_that_is_damaged_is_named(tmp_path, full_png):
    (tmp_path / "a.png").write_bytes(with_wrong_sum(full_png, b"tRNS"))
    picture = read_picture(tmp_path / "a.png")
    assert picture.alpha is None and "transparency is damaged" in picture.notes[0]


def test_a_wrong_sum_of_pixels_is_noted_and_wrong_pixels_are_refused(tmp_path, full_png):
    (tmp_path / "a.png").write_bytes(with_wrong_sum(full_png, b"IDAT"))
    assert "sum of its pixels" in read_picture(tmp_path / "a.png").notes[0]
    (tmp_path / "a.png").write_bytes(with_wrong_sum(full_png, b"IDAT", flip=True))
    with pytest.raises(UnreadableImage, match=r"a\.png: its pixels are damaged"):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize(("kind", "what"), [(b"IHDR", "header"), (b"PLTE", "palette")])
def test_what_says_how_pixels_are_stored_must_be_right(tmp_path, full_png, kind, what):
    (tmp_path / "a.png").write_bytes(with_wrong_sum(full_png, kind))
    with pytest.raises(UnreadableImage, match=f"sum of its {what} is wrong"):
        read_picture(tmp_path / "a.png")


def test_an_interlaced_png_is_mended_too(tmp_path):
    """Adam7 of a flat picture: all seven passes hold the same colour."""
    rows = b""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    for x0, y0, dx, dy in passes:
        rows += (b"\0" + bytes([90, 60, 30]) * len(range(x0, 16, dx))) * len(range(y0, 16, dy))

    def chunk(name: bytes, body: bytes, wrong: int = 0) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body) ^ wrong)

    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 1)), chunk(b"tEXt", b"a\0b", wrong=1)]
    data = b"\x89PNG\r\n\x1a\n" + b"".join([*parts, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")])
    (tmp_path / "a.png").write_bytes(data)
    picture = read_picture(tmp_path / "a.png")
    assert (picture.pixels == (90, 60, 30)).all() and len(picture.notes) == 1


def test_a_cameras_second_view_is_not(tmp_path):
    frames = [Image.new("RGB", (20, 10), color) for color in [(255, 0, 0), (0, 0, 255)]]
    frames[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=frames[1:])
    picture = read_picture(tmp_path / "a.jpg")
    assert picture.notes == () and picture.pixels[5, 5, 0] > 240


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "pillow-heif"),
        (b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom", "raw file"),
        (b"8BPS\0\1", "Photoshop"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\0\0\0\x14ftypisom\0\0\2\0isom", "video"),
    ],
)
def test_kinds_that_are_not_read_are_named(tmp_path, monkeypatch, head, said):
    monkeypatch.setattr("idfsr_jax.io.kinds.can_read_heic", lambda: False)
    monkeypatch.setattr("idfsr_jax.face.read.can_read_heic", lambda: False)
    (tmp_path / "a.jpg").write_bytes(head + bytes(64))
    with pytest.raises(UnreadableImage, match=said) as caught:
        read_image(tmp_path / "a.jpg")
    assert str(caught.value).startswith(f"{tmp_path / 'a.jpg'}: is a")


def test_heic(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x0112] = 6
    held = pillow_heif.from_pillow(Image.fromarray(colours()))
    held.save(tmp_path / "a.heic", quality=100, chroma=444, exif=exif.tobytes())
    assert read_image(tmp_path / "a.heic").shape == (48, 32, 3)
    held.save(tmp_path / "b.jpg.heic", quality=100, chroma=444, icc_profile=matrix_profile(P3, 2.2))
    os.rename(tmp_path / "b.jpg.heic", tmp_path / "b.jpg")
    near(read_image(tmp_path / "b.jpg"), by_hand(colours(), P3, 2.2), 5)


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_image("~/a.png", colours())
    np.testing.assert_array_equal(read_image(Path("~/a.png")), colours())
