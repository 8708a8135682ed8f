"""The folder that `idfsr export` writes: artifacts, weights, and a manifest of what goes in and comes out."""

import hashlib
from collections.abc import Callable, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.numpy import save as save_safetensors

from idfsr_jax.config import Config
from idfsr_jax.diffusion.samplers import sampling_table
from idfsr_jax.errors import InputError
from idfsr_jax.export import denoiser, sampler
from idfsr_jax.face import FaceCrop, resize_crop
from idfsr_jax.files import write_atomically, write_summed_json
from idfsr_jax.identity import Identity
from idfsr_jax.weights import Model

_MEANINGS = {
    "y": "LR crops, RGB; those of size / scale pixels lie in the upper left corner, the rest is not read",
    "scale": "down-sampling factor of all faces of the call, one of `scales`",
    "references": "k canonical crops of each person, RGB; the one nearest in pose is used",
    "landmarks": "68 points of each reference, (x, y) / side of the crop",
    "identity": "unit identity vector of each person",
    "consistency": "how far the result must agree with y, from 0 to 1",
    "seed": "of the noise",
}
_DENOISER_MEANINGS = {
    "x_t": "noised crop: sqrt(sigmoid(log_snr)) x0 + sqrt(sigmoid(-log_snr)) noise, x0 in [-1, 1]",
    "log_snr": "its logarithmic signal-to-noise ratio",
    "hidden": "enlarged LR picture in [-1, 1], the face masked out",
    "mask": "soft face region, from 0 to 1",
    "reference": "reference warped onto the LR face, in [-1, 1]",
    "valid": "where it is defined, from 0 to 1",
    "identity": "unit identity vector",
    "identity_present": "1, or 0 for the learned null identity",
    "scale": "down-sampling factor",
}
_METADATA = {
    "Software": "idfsr-jax (exported)",
    "Description": "The face in this picture is synthesised from reference photographs by idfsr-jax; "
    "it is no evidence.",
}


def write_export(
    out: Path,
    model: Model,
    config: Config,
    formats: Sequence[str],
    batch: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Writes the artifacts, their weights, `run.py` and, last of all, `manifest.json`.

    Args:
      out: folder; made if missing.
      model: of `load_model`.
      config: the model's, with the sampling that is wanted.
      formats: of "jax" and "onnx".
      batch: faces at once; None leaves it free in the JAX artifact, and is one in ONNX.
      say: told what was written.

    Raises:
      InputError: jax2onnx is needed and not installed, or its network is not ours.
    """
    sums: dict[str, str] = {}
    manifest: dict[str, Any] = {
        "format": 1,
        "model": model.digest,
        "encoder": model.encoder,
        "size": config.data.size,
        "scales": list(config.data.scales),
        "batch": batch,
        "sampler": config.sample.sampler,
        "steps": config.sample.steps,
        "consistency": config.sample.consistency,
        "metadata": _METADATA | {"idfsr:model": model.digest},
        "versions": {"idfsr-jax": _version("idfsr-jax"), "jax": jax.__version__},
    }

    def write(name: str, data: bytes) -> None:
        write_atomically(out / name, lambda file: file.write(data))
        sums[name] = hashlib.sha256(data).hexdigest()
        say(f"{out / name}: {len(data) / 1e6:.2f} MB")

    if "jax" in formats:
        exported = sampler.export_sampler(model, config, batch)
        write("sampler.jax", bytes(exported.serialize()))
        write("sampler.safetensors", save_safetensors(sampler.flat_weights(model)))
        write("run.py", resources.files("idfsr_jax.export").joinpath("run.py").read_bytes())
        shapes = zip(sampler.INPUTS, sampler.input_shapes(config, batch), strict=True)
        manifest["sampler.jax"] = {
            "call": "jax.export.deserialize(bytes).call(weights, *inputs), weights: {name: array}",
            "platforms": list(exported.platforms),
            "calling_convention_version": exported.calling_convention_version,
            "inputs": [_described(name, shape.shape, str(shape.dtype), _MEANINGS) for name, shape in shapes],
            "output": "uint8 [b, size, size, 3], RGB",
        }
    if "onnx" in formats:
        count = batch or 1
        network = denoiser.export_denoiser(model, count)
        difference = denoiser.largest_difference(model, network, count)
        if difference is not None and not difference <= denoiser.TOLERANCE:
            raise InputError(f"The denoiser in ONNX differs from Flax by {difference:.1e}; use another jax2onnx.")
        write("denoiser.onnx", network)
        checked = "onnxruntime is not installed" if difference is None else f"{difference:.1e} on random inputs"
        say(f"{out / 'denoiser.onnx'}: difference from Flax: {checked}")
        rows = np.asarray(sampling_table(config.sample, config.diffusion, config.data.size))
        inputs = denoiser.input_shapes(model, count).items()
        manifest["denoiser.onnx"] = {
            "inputs": [_described(name, shape, "float32", _DENOISER_MEANINGS) for name, shape in inputs],
            "output": "v = alpha noise - sigma x0, alpha^2 = sigmoid(log_snr), sigma^2 = sigmoid(-log_snr)",
            "difference": difference,
            "temperature": config.sample.temperature,
            "guess_share": config.sample.guess_share,
            "loop": "x = temperature noise; each row: x0 = clip(alpha x - sigma v, -1, 1); "
            "x = on_x x + on_x0 x0 + on_previous previous_x0 + on_noise noise; "
            "the last x, moved by guess_share mask valid towards the guess (docs/how-it-works.md), is the result",
            "table": {"columns": ["log_snr", "on_x", "on_x0", "on_previous", "on_noise"], "rows": rows.tolist()},
        }
    write_summed_json(out / "manifest.json", manifest | {"sha256": sums})
    say(f"{out / 'manifest.json'}: inputs, outputs and sums")


def write_person(path: Path, model: Model, identity: Identity, crops: Sequence[FaceCrop]) -> None:
    """Writes what the artifact needs of a person: the fitted identity and, as pictures, the references.

    Args:
      path: a safetensors file.
      model: that the identity was fitted with.
      identity: of `Restorer.fit`.
      crops: photographs that can be references.
    """
    size = model.config.data.size
    arrays = {
        "identity": np.asarray(identity.embedding, np.float32),
        "references": np.stack([resize_crop(crop.image, size) for crop in crops]),
        "landmarks": np.stack([crop.landmarks for crop in crops]).astype(np.float32),
    }
    data = save_safetensors(arrays, {"model": model.digest, "identity": identity.digest})
    write_atomically(path, lambda file: file.write(data))


def _described(name: str, shape: Sequence[Any], dtype: str, meanings: dict[str, str]) -> dict[str, Any]:
    sides = [side if isinstance(side, int) else str(side) for side in shape]
    return {"name": name, "shape": sides, "dtype": dtype, "meaning": meanings[name]}


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"
