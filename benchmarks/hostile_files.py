"""Sixty hostile or odd picture files through `idfsr restore`: what comes of each, and how much memory it takes.

    python -m benchmarks.hostile_files --out hostile.json

Every file must be restored or refused in one sentence that names it, none may stop the others, and memory must stay
bounded. The files are made here, of a drawn face of 16 px; what makes them odd is in their names.
"""

import io
import json
import os
import resource
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

from benchmarks.table import publish

_ODD = {"pipe.jpg", "missing.jpg", "directory.jpg", "device.png", "link-to-itself.png"}
"""What no listing of a folder gives; restored by name, each by itself."""


@dataclass(frozen=True)
class Options:
    """How it is run."""

    weights: Path | None = None
    """Model folder; the shipped model if not given."""
    most_megabytes: int = 1500
    """That the command may take, the model and the compiler included."""
    out: Path | None = None
    """Also write the table as JSON."""


def main() -> int:
    """Runs the check; the exit code is 0 if every file had its sentence and memory stayed within bounds."""
    options = tyro.cli(Options, description=__doc__)
    model = ["--weights", str(options.weights)] if options.weights else []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        names = make_files(folder / "files")
        person = [
            "--identity",
            str(folder / "me.safetensors"),
            "--photos",
            str(astronaut(folder / "photo.png")),
            *model,
        ]
        _idfsr("fit", "--photos", str(folder / "photo.png"), "--out", str(folder / "me.safetensors"), *model)
        _idfsr("restore", str(folder / "files"), *person, "--out", str(folder / "out"))
        summary = json.loads((folder / "out" / "summary.json").read_text())
        came = {Path(each["input"]).name: (state, each.get("why", "")) for state in summary for each in summary[state]}
        for name in sorted(_ODD):
            path = folder / "files" / name
            said = _idfsr("restore", str(path), *person, "--out", str(folder / "one.png")).strip().splitlines()
            came[name] = ("failed", said[-1].removeprefix("idfsr: "))
            if len(said) != 1:
                raise AssertionError(f"{name}: said {said}")
    megabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    missing = [name for name in names if name not in came]
    unclear = [name for name, (state, why) in came.items() if state == "failed" and (name not in why or "\n" in why)]
    crashed = [name for name, (_, why) in came.items() if "unexpected" in why]
    if missing or unclear or crashed or len(came) != 60:
        raise AssertionError(
            f"no outcome: {missing}; unclear: {unclear}; a fault of ours: {crashed}; {len(came)} files"
        )
    if megabytes > options.most_megabytes:
        raise AssertionError(f"{megabytes:.0f} MB of memory were taken")
    brief = lambda why: why.replace(f"{folder / 'files'}{os.sep}", "")  # noqa: E731
    rows = [[name, state, brief(why)] for name, (state, why) in sorted(came.items())]
    title = f"{len(came)} hostile or odd files, {megabytes:.0f} MB of memory at the most"
    publish(title, ["file", "came out", "the sentence"], rows, {"rows": rows, "megabytes": megabytes}, options.out)
    return 0


def make_files(folder: Path) -> list[str]:
    """Writes the files; returns their names."""
    folder.mkdir(parents=True)
    makers = _readable() | _damaged() | _strange()
    for name, make in makers.items():
        data = make()
        (folder / name).write_bytes(data)
    with (folder / "sparse-2-gb.jpg").open("wb") as file:
        file.truncate(2 * 2**30)
    (folder / "directory.jpg").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    (folder / "device.png").symlink_to("/dev/zero")
    (folder / "link-to-itself.png").symlink_to("link-to-itself.png")
    return [*makers, "sparse-2-gb.jpg", *_ODD]


def astronaut(path: Path) -> Path:
    """A photograph of one person, as a file."""
    from skimage import data

    Image.fromarray(data.astronaut()).save(path)
    return path


def drawn_face() -> Image.Image:
    """16 px: skin, hair, eyes and mouth, as blocks."""
    pixels = np.full((16, 16, 3), (90, 110, 140), np.uint8)
    pixels[2:14, 4:12] = (215, 170, 140)
    pixels[1:4, 3:13] = (60, 40, 30)
    pixels[6:7, (6, 9)] = (40, 30, 30)
    pixels[11:12, 6:10] = (160, 70, 70)
    return Image.fromarray(pixels)


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _readable() -> dict[str, Callable[[], bytes]]:
    face = drawn_face()

    def oriented(orientation: int) -> bytes:
        exif = Image.Exif()
        exif[0x0112] = orientation
        return _saved(face, "JPEG", exif=exif, quality=95)

    alpha = face.copy()
    alpha.putalpha(Image.fromarray(np.tile(np.arange(0, 256, 16, dtype=np.uint8), (16, 1))))
    grey16 = Image.fromarray(np.asarray(face.convert("L")).astype(np.uint16) * 257)
    frames = {"save_all": True, "append_images": [face.rotate(90), face.rotate(180)], "duration": 100}
    files: dict[str, Callable[[], bytes]] = {f"exif-{n}.jpg": partial(oriented, n) for n in range(0, 10)}
    return files | {
        "cmyk.jpg": lambda: _saved(face.convert("CMYK"), "JPEG"),
        "cmyk.tif": lambda: _saved(face.convert("CMYK"), "TIFF"),
        "palette.png": lambda: _saved(face.quantize(8), "PNG"),
        "palette-transparent.png": lambda: _saved(face.quantize(8), "PNG", transparency=0),
        "alpha.png": lambda: _saved(alpha, "PNG"),
        "alpha.webp": lambda: _saved(alpha, "WEBP", lossless=True),
        "grey.png": lambda: _saved(face.convert("L"), "PNG"),
        "grey-alpha.png": lambda: _saved(alpha.convert("LA"), "PNG"),
        "one-bit.png": lambda: _saved(face.convert("1"), "PNG"),
        "sixteen-bit.png": lambda: _saved(grey16, "PNG"),
        "sixteen-bit.tif": lambda: _saved(grey16, "TIFF"),
        "sixteen-bit-colour.png": lambda: _png(16, 16, 16, 2, b"".join(b"\0" + bytes(96) for _ in range(16))),
        "animated.gif": lambda: _saved(face, "GIF", **frames),
        "animated.png": lambda: _saved(face, "PNG", **frames),
        "animated.webp": lambda: _saved(face, "WEBP", **frames),
        "progressive.jpg": lambda: _saved(face, "JPEG", progressive=True),
        "bitmap.bmp": lambda: _saved(face, "BMP"),
        "a-jpeg-called.png": lambda: _saved(face, "JPEG"),
        "capitals.JPG": lambda: _saved(face, "JPEG"),
        "név ünï 日本 'quotes'.png": lambda: _saved(face, "PNG"),
    }


def _damaged() -> dict[str, Callable[[], bytes]]:
    jpeg, png = _saved(drawn_face(), "JPEG"), _saved(drawn_face(), "PNG")
    shares = (0.02, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
    cut = {f"cut-at-{share:.0%}.jpg": lambda share=share: jpeg[: int(len(jpeg) * share)] for share in shares}
    header = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 65535)
    return cut | {
        "cut-at-50%.png": lambda: png[: len(png) // 2],
        "flipped-bits.png": lambda: png[:60] + bytes(b ^ 0x55 for b in png[60:70]) + png[70:],
        "bad-directory.tif": lambda: header,
        "damaged-exif.jpg": lambda: jpeg[:2] + b"\xff\xe1\x00\x10Exif\0\0" + b"\xff" * 8 + jpeg[2:],
    }


def _strange() -> dict[str, Callable[[], bytes]]:
    return {
        "bomb-60000.png": lambda: _png(60_000, 60_000, 1, 0, bytes(60_000 // 8 + 1) * 2000),
        "bomb-12000.png": lambda: _png(12_000, 12_000, 8, 2, bytes(36_001) * 100),
        "bomb-65500.jpg": lambda: _large_jpeg(),
        "endless-comment.png": lambda: _png(16, 16, 8, 2, bytes(49 * 16), text=zlib.compress(bytes(50_000_000))),
        "empty.jpg": lambda: b"",
        "text.jpg": lambda: b"This is no picture.\n",
        "page.png": lambda: b"<html><script>alert(1)</script></html>",
        "program.jpg": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "pixel.png": lambda: _saved(Image.new("RGB", (1, 1)), "PNG"),
        "thin.png": lambda: _saved(Image.new("RGB", (4000, 1)), "PNG"),
        "floating-point.tif": lambda: _saved(Image.fromarray(np.zeros((16, 16), np.float32)), "TIFF"),
    }


def _png(width: int, height: int, depth: int, colour: int, rows: bytes, text: bytes | None = None) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    comment = chunk(b"zTXt", b"Comment\0\0" + text) if text is not None else b""
    end = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + comment + end


def _large_jpeg() -> bytes:
    """A JPEG of one colour whose header says 65,500 x 65,500."""
    data = bytearray(_saved(Image.new("RGB", (16, 16)), "JPEG"))
    place = data.index(b"\xff\xc0")
    data[place + 5 : place + 9] = struct.pack(">HH", 65_500, 65_500)
    return bytes(data)


def _idfsr(*arguments: str) -> str:
    """What the command says on standard error; its exit code may be 0 or 2."""
    done = subprocess.run(
        [sys.executable, "-m", "idfsr_jax.cli", *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 2):
        raise AssertionError(f"idfsr {arguments[0]} ended with {done.returncode}: {done.stderr}")
    return done.stderr


if __name__ == "__main__":
    sys.exit(main())
