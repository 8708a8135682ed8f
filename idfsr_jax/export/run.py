"""Restores a small face with an exported sampler: needs jax, numpy, safetensors and pillow, and nothing else.

    python run.py tiny.png --person person.safetensors --out restored.png

It lies in a folder with `sampler.jax`, `sampler.safetensors` and `manifest.json`, which `idfsr export` wrote; so does
this file. The picture is an aligned crop of a head, square, of any size: what is larger than half of the result is made
smaller first. A restored face is synthesised, and is no evidence.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent


def main() -> int:
    """Restores one picture; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path, help="aligned crop of a head, square")
    parser.add_argument("--person", type=Path, default=FOLDER / "person.safetensors", help="identity and references")
    parser.add_argument("--out", type=Path, required=True, help="PNG to write, name.png")
    parser.add_argument("--reveal", type=float, help="0 to 1: how much of the small face the model is shown")
    parser.add_argument("--consistency", type=float, help="0 to 1: how far the result must agree with the picture")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        restore(options)
    except OSError as error:
        print(f"run.py: {error.filename or options.picture}: {error.strerror or error}.", file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 2
    print(f"{options.picture} -> {options.out}")
    return 0


def restore(options: argparse.Namespace) -> None:
    """Reads, restores and writes; a ValueError says in a sentence what is wrong."""
    import numpy as np
    from PIL import Image, ImageOps
    from PIL.PngImagePlugin import PngInfo

    if options.out.suffix.lower() != ".png":
        raise ValueError(f"{options.out}: a PNG is written; give --out a name that ends in .png.")
    if not options.out.absolute().parent.is_dir():
        raise ValueError(f"{options.out}: its folder is not there; make it, or give --out another name.")
    if options.out.exists() and options.picture.exists() and options.out.samefile(options.picture):
        raise ValueError(f"{options.out}: is the picture to restore; give --out another name.")
    manifest, sampler, weights = load(FOLDER)
    least, most = manifest["widths"]
    if not 0 <= options.seed < 2**32:
        raise ValueError(f"--seed {options.seed}: give a whole number from 0 to 4294967295.")
    inputs: dict[str, Any] = {"seed": np.uint32(options.seed)}
    for name in ("reveal", "consistency"):
        given = getattr(options, name)
        inputs[name] = np.float32(manifest[name] if given is None else given)
        if given is not None and not 0.0 <= given <= 1.0:
            raise ValueError(f"--{name} {given}: give a number from 0 to 1.")
    person, digest = load_person(options.person, manifest["model"])
    try:
        with Image.open(options.picture) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGB")
    except Image.DecompressionBombError as error:
        raise ValueError(f"{options.picture}: has too many pixels; give a crop of a head.") from error
    if picture.width != picture.height:
        raise ValueError(f"{options.picture}: is {picture.width} x {picture.height} px; give a square crop of a head.")
    if picture.width < least:
        raise ValueError(f"{options.picture}: is {picture.width} px wide; give a crop of {least} px or more.")
    if picture.width > most:
        picture = picture.resize((most, most), Image.Resampling.BOX)
    side = picture.width
    y = np.zeros((most, most, 3), np.uint8)
    y[:side, :side] = np.asarray(picture)

    for name, row in {"y": y, "n": np.int32(side), **person}.items():
        inputs[name] = np.stack([row] * (manifest["batch"] or 1))
    restored = sampler(weights, *(inputs[each["name"]] for each in manifest["sampler.jax"]["inputs"]))
    said = PngInfo()
    drawn = {"idfsr:seed": str(options.seed), "idfsr:identity": digest}
    for name, text in (manifest["metadata"] | drawn).items():
        said.add_itxt(name, text)
    Image.fromarray(np.asarray(restored)[0]).save(options.out, format="PNG", pnginfo=said)


def load(folder: Path):
    """The manifest, the sampler as a function, and its weights, after their SHA-256 sums have been checked."""
    import jax
    from jax import export
    from safetensors.numpy import load as load_safetensors

    manifest = json.loads((folder / "manifest.json").read_text())
    if "sampler.jax" not in manifest["sha256"]:
        raise ValueError(f"{folder}: holds no sampler for JAX; export it with --formats jax.")
    files = {name: checked(folder / name, manifest["sha256"][name]) for name in ("sampler.jax", "sampler.safetensors")}
    sampler = jax.jit(export.deserialize(bytearray(files["sampler.jax"])).call)
    return manifest, sampler, load_safetensors(files["sampler.safetensors"])


def load_person(path: Path, model: str):
    """What `idfsr export --identity` wrote of a person for this model, array by array, and the identity's name."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            said = file.metadata() or {}
            if said.get("format", "").startswith("idfsr-identity"):
                raise ValueError(f"{path}: is an identity; give what `idfsr export --identity {path}` makes of it.")
            if said.get("model") != model:
                raise ValueError(f"{path}: was exported for another model; export it again with this one.")
            return {name: file.get_tensor(name) for name in file.keys()}, said.get("identity", "")  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path}: is not a person that `idfsr export --identity` wrote.") from error


def checked(path: Path, sha256: str) -> bytes:
    """A file's bytes, if they are what the manifest says."""
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"{path}: its SHA-256 sum is not the recorded one, so it is damaged; get it again.")
    return data


if __name__ == "__main__":
    sys.exit(main())
