"""What kind of file something is, by its first bytes; nothing is decoded."""

import importlib.util
import os
import stat
from pathlib import Path

from idfsr_jax.io.errors import InputError

READ = frozenset({"JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "PPM", "JPEG 2000", "AVIF"})
"""Kinds that Pillow reads for us."""

HEIC = "HEIC"
"""Read where `pillow-heif` is installed."""

ENDINGS = frozenset(
    {".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif"}
    | {".tiff", ".webp"}
)
"""Endings of files that are meant as pictures, whatever is in them."""

_HEADS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"\0\0\0\x0cjP  \r\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL \r\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"8BPS", "Photoshop"),
    (b"FUJIFILMCCD-RAW", "RAW"),
    (b"IIRO", "RAW"),
    (b"IIU\0", "RAW"),
    (b"II*\0\x10\0\0\0CR", "RAW"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"gimp xcf", "GIMP"),
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"\0\0\1\0", "icon"),
    (b"\x1aE\xdf\xa3", "video"),
    (b"PK\3\4", "archive"),
)
_RAW_ENDINGS = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef"}
    | {".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"}
)
_BRANDS = (
    (HEIC, (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")),
    ("RAW", (b"crx ",)),
)
# What operating systems and file managers leave in folders, without anybody's doing.
_SYSTEM = frozenset(
    {"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "__macosx", "$recycle.bin"}
    | {"system volume information", "lost+found", "@eadir", "picasa.ini", "zbthumbnail.info"}
)


def is_system(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or an operating system's own, and nobody's photograph."""
    return name.startswith(".") or name.lower() in _SYSTEM


def kind_of(head: bytes, name: str = "") -> str | None:
    """The kind of a file by its first 32 bytes, "JPEG" for instance; None if it is none of those known here.

    Args:
      head: the bytes.
      name: of the file: cameras' raw files are TIFFs within, and told by their endings alone.
    """
    if head[4:8] == b"ftyp":
        brands = {head[place : place + 4] for place in range(8, len(head), 4)} - {head[12:16]}
        if brands & {b"avif", b"avis"}:
            return "AVIF"
        return next((kind for kind, known in _BRANDS if brands & set(known)), "video")
    if head[:4] == b"RIFF":
        return {b"WEBP": "WebP", b"AVI ": "video"}.get(head[8:12])
    if head[:2] == b"BM" and head[6:10] == bytes(4):
        return "BMP"
    if head[:1] == b"P" and head[1:2] in (b"1", b"2", b"3", b"4", b"5", b"6") and head[2:3].isspace():
        return "PPM"
    found = next((kind for start, kind in _HEADS if head.startswith(start)), None)
    return "RAW" if found == "TIFF" and Path(name).suffix.lower() in _RAW_ENDINGS else found


def can_read_heic() -> bool:
    """Whether `pillow-heif` is installed."""
    return importlib.util.find_spec("pillow_heif") is not None


def reason_against(path: Path) -> str | None:
    """Why a file of a folder is passed over, in words that follow its name and a colon; None if it is a picture.

    What only looks like a picture by its ending counts as one, so that reading says what is wrong with it.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            return "is a link to a folder, which is not followed"
        if not stat.S_ISREG(status.st_mode):
            return "is a pipe or device"
        with path.open("rb") as file:
            head = file.read(32)
    except OSError as error:
        if path.is_symlink() and not os.path.exists(path):
            return f"is a link that leads nowhere ({printed_target(path)})"
        return f"cannot be read ({error.strerror or type(error).__name__})"
    kind = kind_of(head, path.name)
    if kind in READ:
        return None
    if kind is not None:
        return None if kind == HEIC and can_read_heic() else unread(kind)
    if path.suffix.lower() in ENDINGS:
        return None
    return unread("RAW") if path.suffix.lower() in _RAW_ENDINGS else "is not a picture"


def printed_target(path: Path) -> str:
    """Where a link leads, as it is written in it."""
    try:
        return os.readlink(path)
    except OSError:
        return "it cannot be followed"


def unread(kind: str) -> str:
    """Why a file of a kind that is not read is not read, and what to do, in words that follow its name and a colon."""
    if kind == HEIC:
        return (
            'is a HEIC picture, which needs pillow-heif; install it (pip install "idfsr-jax[heif]"), '
            "or convert it to JPEG"
        )
    what = {"RAW": "a camera's raw file", "video": "a video", "archive": "an archive", "icon": "an icon"}
    return f"is {what.get(kind, f'a {kind} file')}; convert it to JPEG or PNG"


def require_read(path: Path, head: bytes) -> None:
    """Checks that a file's kind is one that is read; an unknown kind passes.

    Raises:
      InputError: it is not.
    """
    kind = kind_of(head, path.name)
    if kind is not None and kind not in READ and not (kind == HEIC and can_read_heic()):
        raise InputError(f"{path}: {unread(kind)}.")
