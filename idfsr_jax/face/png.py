"""PNG files with a wrong sum: which parts are damaged, and what remains that can be read."""

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from idfsr_jax.io.errors import UnreadableImage

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_NEEDED = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_COLOUR = frozenset({b"tRNS", b"cHRM", b"gAMA", b"iCCP", b"sRGB"})
_MATTERS = {
    b"tRNS": "its transparency is damaged and was left out",
    b"iCCP": "its colour profile is damaged and was left out",
}
_TELLS = "what it says besides its pixels is damaged in part, and that part was left out"


def mended_png(path: Path) -> tuple[io.BytesIO | None, list[str]]:
    """A PNG file without its damaged parts, as far as its pixels need none of them.

    Every chunk of a PNG has a sum, CRC-32 (PNG specification, third edition, 5.3). One with a wrong sum that holds no
    pixels is left out. Of pixels the data stream has a sum of its own, Adler-32, which then decides.

    Returns:
      The file, or None where it need not be mended; and what is damaged, a sentence each without a full stop.

    Raises:
      UnreadableImage: the pixels, or what says how they are stored, are damaged.
    """
    bad = [kind for kind, _, intact in _chunks(path) if not intact]
    if not bad:
        return None, []
    for kind, what in ((b"IHDR", "header"), (b"PLTE", "palette")):
        if kind in bad:
            raise UnreadableImage(f"{path}: is damaged (the sum of its {what} is wrong); use an intact copy.")
    notes = [_MATTERS.get(kind, _TELLS) for kind in bad if kind not in _NEEDED]
    if b"IDAT" in bad:
        _require_stream(path)
        notes.append("a sum of its pixels (CRC-32) is wrong, though another (Adler-32) is right; look for damage")
    return _without(path, frozenset(bad) - _NEEDED), list(dict.fromkeys(notes))


def bare_png(path: Path, *, colour: bool) -> io.BytesIO:
    """A PNG file with nothing but its pixels, and, if wanted, what their colours mean."""
    kept = _NEEDED | (_COLOUR if colour else frozenset())
    return _without(path, frozenset(kind for kind, _, _ in _chunks(path)) - kept)


def _chunks(path: Path) -> Iterator[tuple[bytes, bytes, bool]]:
    """Type, content and whether its sum is right, of every whole chunk up to the last."""
    with path.open("rb") as file:
        if file.read(8) != _SIGNATURE:
            return
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            content, end = file.read(length), file.read(4)
            if len(content) < length or len(end) < 4:
                return
            yield kind, content, struct.unpack(">I", end)[0] == zlib.crc32(content, zlib.crc32(kind))
            if kind == b"IEND":
                return


def _without(path: Path, left_out: frozenset[bytes]) -> io.BytesIO:
    """The file without chunks of some types, all sums right."""
    file = io.BytesIO()
    file.write(_SIGNATURE)
    for kind, content, _ in _chunks(path):
        if kind not in left_out:
            file.write(struct.pack(">I", len(content)) + kind + content)
            file.write(struct.pack(">I", zlib.crc32(content, zlib.crc32(kind))))
    file.seek(0)
    return file


def _require_stream(path: Path) -> None:
    inflate = zlib.decompressobj()
    try:
        for kind, content, _ in _chunks(path):
            if kind == b"IDAT":
                rest = content
                while rest:  # In pieces: a small file may hold very many pixels.
                    inflate.decompress(rest, 1 << 20)
                    rest = inflate.unconsumed_tail
    except zlib.error as error:
        raise UnreadableImage(f"{path}: its pixels are damaged ({error}); use an intact copy.") from error
    if not inflate.eof:
        raise UnreadableImage(f"{path}: its pixels are damaged (they end too early); use an intact copy.")
