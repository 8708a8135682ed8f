"""The folder that `idfsr export` writes: artifacts, weights, and a manifest of what goes in and comes out."""

import hashlib
from collections.abc import Callable, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from safetensors.numpy import save as save_safetensors

from idfsr_jax.config import Config
from idfsr_jax.diffusion.samplers import sampling_table
from idfsr_jax.export import denoiser, sampler
from idfsr_jax.face import FaceCrop
from idfsr_jax.io.errors import InputError
from idfsr_jax.io.files import read_summed_json, write_atomically, write_summed_json
from idfsr_jax.method.guidance import Guide
from idfsr_jax.method.model import Model
from idfsr_jax.restore.conditions import known_person, shown_photographs, tables_of
from idfsr_jax.restore.identity import Identity

_FILES = {"jax": ("sampler.jax", "sampler.safetensors", "run.py"), "onnx": ("denoiser.onnx",)}
_MEANINGS = {
    "y": "LR crops, RGB, each in the upper left corner; the rest is not read",
    "n": "width of each LR crop in pixels, within `widths`",
    "shape": "proportions of each person's face: mean of the 68 points of their photographs, aligned",
    "references": "photographs of each person, canonical crops, RGB; those nearest in pose and expression are used",
    "landmarks": "68 points of each photograph, (x, y) / side of the crop",
    "frames": "from coordinates of each crop, (x, y, 1) / side, to those of its photograph, (x, y) / side",
    "units": "unit vectors of each photograph by all recognisers, one after the other",
    "present": "1, or 0 where there is no photograph",
    "identity": "fitted unit vectors of each person by all recognisers, one after the other",
    "start": "the same before the fit, towards which a recogniser pulls the result",
    "reveal": "how much of the LR face the denoiser is shown, from 0 to 1",
    "consistency": "how far the result must agree with y, from 0 to 1; below 0 as far as y is to be trusted",
    "seed": "of the noise, which is the same for all faces of a call",
}
_DENOISER_MEANINGS = {
    "x_t": "noised crop: sqrt(sigmoid(log_snr)) x0 + sqrt(sigmoid(-log_snr)) noise, x0 in [-1, 1]",
    "log_snr": "its logarithmic signal-to-noise ratio",
    "hidden": "enlarged LR picture in [-1, 1], of its face only what is revealed",
    "mask": "soft face region, from 0 to 1",
    "pose": "heat maps of the LR face's landmarks, from 0 to 1",
    "references": "photographs moved onto the LR face, in [-1, 1], the nearest first; 0 where they show nothing",
    "valid": "where they show something, from 0 to 1",
    "reference_identities": "their unit vectors by all recognisers, one after the other",
    "guess": "the nearest one's detail on `hidden`, in [-1, 1]; without any, `hidden`",
    "identity": "unit vectors by all recognisers, one after the other",
    "identity_present": "1, or 0 for the learned null identity",
    "scale": "side of the crop over that of the LR crop",
}
_METADATA = {
    "Software": "idfsr-jax (exported)",
    "Description": "The face in this picture is synthesised from reference photographs by idfsr-jax; "
    "it is no evidence.",
}


def write_export(
    out: Path,
    model: Model,
    guide: Guide,
    config: Config,
    sizes: tuple[int, ...],
    formats: Sequence[str],
    batch: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Writes the artifacts, their weights, `run.py` and, last of all, `manifest.json`.

    What an earlier export of the same model and settings left in the other format stays, and stays in the manifest.

    Args:
      out: folder; made if missing.
      model: of `load_model`.
      guide: of the model, `guidance.make_guide`.
      config: the model's, with the sampling that is wanted.
      sizes: length of each recogniser's part of the identity.
      formats: of "jax" and "onnx".
      batch: faces at once; None leaves it free in the JAX artifact, and is one in ONNX.
      say: told what was written.

    Raises:
      InputError: jax2onnx is needed and not installed, or its network is not ours; or the folder holds a manifest of
        something else, or the other format of another model or settings.
    """
    least = tables_of(config.data.size).least
    manifest: dict[str, Any] = {
        "format": 2,
        "model": model.digest,
        "encoder": model.encoder,
        "size": config.data.size,
        "widths": [least, config.data.size // 2],
        "batch": batch,
        "sampler": config.sample.sampler,
        "steps": config.sample.steps,
        "guidance": config.sample.guidance,
        "reveal": config.sample.reveal,
        "consistency": -1.0,
        "metadata": _METADATA | {"idfsr:model": model.digest},
        "versions": {"idfsr-jax": _version("idfsr-jax"), "jax": jax.__version__},
    }

    entries, sums = _earlier(out, manifest, formats)
    manifest |= entries

    def write(name: str, data: bytes) -> None:
        write_atomically(out / name, lambda file: file.write(data))
        sums[name] = hashlib.sha256(data).hexdigest()
        say(f"{out / name}: {len(data) / 1e6:.2f} MB")

    if "jax" in formats:
        exported = sampler.export_sampler(model, guide, config, sizes, batch)
        write("sampler.jax", bytes(exported.serialize()))
        write("sampler.safetensors", save_safetensors(sampler.flat_weights(model, guide)))
        write("run.py", _run_py())
        shapes = sampler.input_shapes(config, sizes, batch).items()
        manifest["sampler.jax"] = {
            "call": "jax.export.deserialize(bytes).call(weights, *inputs), weights: {name: array}",
            "platforms": list(exported.platforms),
            "calling_convention_version": exported.calling_convention_version,
            "inputs": [_described(name, shape.shape, str(shape.dtype), _MEANINGS) for name, shape in shapes],
            "output": "uint8 [b, size, size, 3], RGB",
        }
    if "onnx" in formats:
        count = batch or 1
        network = denoiser.export_denoiser(model, sizes, count)
        difference = denoiser.largest_difference(model, sizes, network, count)
        if difference is not None and not difference <= denoiser.TOLERANCE:
            raise InputError(f"The denoiser in ONNX differs from Flax by {difference:.1e}; use another jax2onnx.")
        write("denoiser.onnx", network)
        checked = "onnxruntime is not installed" if difference is None else f"{difference:.1e} on random inputs"
        say(f"{out / 'denoiser.onnx'}: difference from Flax: {checked}")
        rows = np.asarray(sampling_table(config.sample, config.diffusion, config.data.size))
        inputs = denoiser.input_shapes(model, sizes, count).items()
        manifest["denoiser.onnx"] = {
            "inputs": [_described(name, shape, "float32", _DENOISER_MEANINGS) for name, shape in inputs],
            "output": "v = alpha noise - sigma x0, alpha^2 = sigmoid(log_snr), sigma^2 = sigmoid(-log_snr)",
            "difference": difference,
            "temperature": config.sample.temperature,
            "loop": "x = temperature noise; each row: x0 = clip(alpha x - sigma v, -1, 1); "
            "x = on_x x + on_x0 x0 + on_previous previous_x0; the last x is the result (guidance 0)",
            "table": {"columns": ["log_snr", "on_x", "on_x0", "on_previous"], "rows": rows.tolist()},
        }
    write_summed_json(out / "manifest.json", manifest | {"sha256": sums})
    say(f"{out / 'manifest.json'}: inputs, outputs and sums")


def _earlier(out: Path, manifest: dict[str, Any], formats: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """What a folder's manifest says of the formats that are not written now: entries, and sums of files."""
    path = out / "manifest.json"
    if not path.exists():
        if "jax" in formats and (out / "run.py").exists() and (out / "run.py").read_bytes() != _run_py():
            raise InputError(f"{out / 'run.py'}: is none that `idfsr export` wrote; give another folder.")
        return {}, {}
    try:
        earlier = read_summed_json(path)
        files = earlier["sha256"]
    except (KeyError, OSError, ValueError) as error:
        raise InputError(f"{path}: is damaged, or none that `idfsr export` wrote; give another folder.") from error
    others = [name for kind, names in _FILES.items() if kind not in formats for name in names if name in files]
    kept = [name for name in others if (out / name).is_file()]
    if kept and any(earlier.get(name) != value for name, value in manifest.items()):
        raise InputError(
            f"{out}: holds {kept[0]} of another model, version or settings; give --formats jax onnx, which replaces "
            "it, or another folder."
        )
    return {name: earlier[name] for name in kept if name in earlier}, {name: files[name] for name in kept}


def write_person(
    path: Path, model: Model, identity: Identity, crops: Sequence[FaceCrop], units: Float[np.ndarray, "k d"]
) -> None:
    """Writes what the artifact needs of a person: what was fitted and, as pictures, the references.

    Args:
      path: a safetensors file.
      model: that the identity was fitted with.
      identity: of `Restorer.fit`.
      crops: photographs of the person.
      units: unit vectors of each by all recognisers, `Restorer.units`.
    """
    known = known_person(identity, *shown_photographs(identity, crops, units), model.config.data.size)
    arrays = {
        "shape": known.shape,
        "references": known.images,
        "landmarks": known.landmarks,
        "frames": known.frames,
        "units": known.units,
        "present": np.ones(len(known.images), np.float32),
        "identity": known.identity,
        "start": known.start,
    }
    data = save_safetensors(arrays, {"model": model.digest, "identity": identity.digest})
    write_atomically(path, lambda file: file.write(data))


def _run_py() -> bytes:
    return resources.files("idfsr_jax.export").joinpath("run.py").read_bytes()


def _described(name: str, shape: Sequence[Any], dtype: str, meanings: dict[str, str]) -> dict[str, Any]:
    sides = [side if isinstance(side, int) else str(side) for side in shape]
    return {"name": name, "shape": sides, "dtype": dtype, "meaning": meanings[name]}


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"
