"""References that are no likeness are told from those that are merely poor; and one photograph from two."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

from idfsr_jax.face import crop_face, crop_faces
from idfsr_jax.face.flaws import flaw_of
from idfsr_jax.face.same import same_photograph
from idfsr_jax.io.errors import InputError

FACE = (180, 60, 270, 170)
"""Of the astronaut: hair to chin."""


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


FLAWED = {
    "dithered": [
        lambda p: p.convert("1"),
        lambda p: jpeg(p.convert("1"), 80),
        lambda p: p.convert("1").resize((700, 700), Image.Resampling.BICUBIC),
    ],
    "posterised": [
        lambda p: p.point(lambda v: v // 64 * 85),
        lambda p: p.quantize(8, dither=Image.Dither.NONE),
        lambda p: p.quantize(8),
        lambda p: p.convert("P"),
        lambda p: p.convert("L").point(lambda v: 255 * (v > 110)),
    ],
    "blank": [
        lambda p: p.point(lambda v: 128 + v // 32),
        lambda p: p.point(lambda v: min(255, v * 12 + 200)),
        lambda p: p.point(lambda v: v // 20),
    ],
}
POOR = [
    lambda p: p,
    lambda p: p.convert("L"),
    lambda p: jpeg(p, 10),
    lambda p: p.quantize(256),
    lambda p: p.point(lambda v: v // 5),
    lambda p: p.point(lambda v: 100 + v // 5),
    lambda p: p.point(lambda v: min(255, v * 2)),
    lambda p: p.filter(ImageFilter.GaussianBlur(3)),
    lambda p: Image.fromarray(np.clip(p + np.random.default_rng(0).normal(0, 30, (512, 512, 3)), 0, 255).astype("u1")),
]


def face_of(image: Image.Image) -> np.ndarray:
    image = image.convert("RGB")
    return np.array(image.crop(tuple(round(v * image.width / 512) for v in FACE)))


@pytest.mark.parametrize(("flaw", "how"), [(flaw, how) for flaw, hows in FLAWED.items() for how in hows])
def test_a_face_without_tones_is_told(astronaut, flaw, how):
    assert flaw_of(face_of(how(Image.fromarray(astronaut)))) == flaw


@pytest.mark.parametrize("how", POOR)
def test_a_poor_face_is_no_flaw(astronaut, how):
    assert flaw_of(face_of(how(Image.fromarray(astronaut)))) == ""


def test_a_dithered_reference_is_refused_by_name(astronaut, tmp_path):
    Image.fromarray(astronaut).convert("1").save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png: its face is dithered"):
        crop_faces(tmp_path / "a.png", (180, 70, 90, 90))


COPIES = {
    "saved again": lambda p: jpeg(p, 60),
    "smaller": lambda p: p.resize((256, 256), Image.Resampling.LANCZOS),
    "larger": lambda p: p.resize((700, 700), Image.Resampling.LANCZOS),
    "cropped": lambda p: p.crop((12, 8, 500, 510)),
    "black and white": lambda p: p.convert("L"),
    "brighter": lambda p: p.point(lambda v: min(255, int(v * 1.2) + 5)),
    "turned a little": lambda p: p.rotate(2, Image.Resampling.BICUBIC),
    "mirrored": ImageOps.mirror,
    "mirrored and smaller": lambda p: ImageOps.mirror(p.resize((300, 300), Image.Resampling.LANCZOS)),
}


@pytest.mark.parametrize("how", COPIES)
def test_one_photograph_is_known_again(astronaut, tmp_path, how):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    Image.fromarray(astronaut).save(paths[0])
    COPIES[how](Image.fromarray(astronaut)).save(paths[1])
    one, other = (crop_face(path) for path in paths)
    assert same_photograph(one.image, other.image) == ("mirrored" if "mirrored" in how else "same")
    assert same_photograph(other.image, one.image) == ("mirrored" if "mirrored" in how else "same")


def test_another_photograph_is_not(astronaut, tmp_path):
    """Another expression and another light: a stretched mouth, and a shadow at one side."""
    Image.fromarray(astronaut).save(tmp_path / "a.png")
    one = crop_face(tmp_path / "a.png").image
    side = one.shape[0]
    mouth = (round(0.35 * side), round(0.62 * side), round(0.65 * side), round(0.78 * side))
    other = Image.fromarray(one)
    other.paste(Image.fromarray(one).crop(mouth).resize((mouth[2] - mouth[0], side // 4)), (mouth[0], mouth[1]))
    shade = np.linspace(0.3, 1.3, side)[None, :, None] ** np.linspace(0.5, 1.5, side)[:, None, None]
    lit = np.clip(np.asarray(other) * shade, 0, 255).astype(np.uint8)
    assert same_photograph(one, lit) == ""
    noise = np.random.default_rng(0).integers(0, 256, one.shape, dtype=np.uint8)
    assert same_photograph(one, noise) == "" and same_photograph(np.full_like(one, 90), one) == ""
