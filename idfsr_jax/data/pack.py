"""A prepared data set packed small: what training needs at one side, in a few files and a manifest.

It travels to a machine that has JAX, Flax, Optax, Orbax and Pillow alone. Crops are WebP; landmarks, descriptors and
LPIPS are half floats; the ID encoder, for the identity loss, has its kernels in 8 bits with a scale for each output
channel. Every file's SHA-256 stands in `manifest.json`, which is written last and carries one of its own.
"""

import hashlib
import io
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.traverse_util
import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors

from idfsr_jax.data.index import Index
from idfsr_jax.errors import InputError
from idfsr_jax.face import resize_crop
from idfsr_jax.files import read_summed_json

FORMAT = "idfsr-pack-2"
MANIFEST = "manifest.json"
ENCODER = "encoder"
"""Name of the ID encoder's file, as those of splits are the splits' names."""
PERCEPTUAL = "perceptual"
"""Name of the file of LPIPS's weights."""


@dataclass(frozen=True)
class PackedSplit:
    """One split of a pack: its index, and its crops as WebP files in one array of bytes."""

    index: Index
    side: int
    data: UInt8[np.ndarray, "bytes"]
    ends: Int[np.ndarray, "n"]
    """Where in `data` each crop's file ends."""

    def decode(self, size: int, workers: int) -> UInt8[np.ndarray, "n {size} {size} 3"]:
        """All crops, decoded by threads.

        Args:
          size: side of the result, at most that of the pack.
          workers: threads.
        """
        crops = np.empty((len(self.index), size, size, 3), np.uint8)
        begins = np.concatenate([[0], self.ends[:-1]])

        def decode(record: int) -> None:
            file = io.BytesIO(self.data[begins[record] : self.ends[record]].tobytes())
            crops[record] = resize_crop(np.array(Image.open(file).convert("RGB")), size)

        with ThreadPoolExecutor(workers) as threads:
            for _ in threads.map(decode, range(len(crops))):
                pass
        return crops


def load_split(folder: Path, split: str) -> PackedSplit:
    """Reads one split of a pack.

    Raises:
      InputError: there is no pack, it lacks the split, or it is damaged.
    """
    manifest = read_manifest(folder)
    if split not in manifest["splits"]:
        raise InputError(f"{folder}: has no split {split}; it has {', '.join(sorted(manifest['splits']))}.")
    arrays = _load(folder, split, manifest)
    names: dict[str, list[str]] = json.loads(arrays["names"].tobytes())
    index = Index(
        people=tuple(names["people"]),
        person=arrays["person"].astype(np.int64),
        photos=tuple(names["photos"]),
        landmarks=arrays["landmarks"].astype(np.float32),
        frames=arrays["frames"],
        embeddings=arrays["embeddings"].astype(np.float32),
        encoder=manifest["encoder"],
    )
    return PackedSplit(index, manifest["side"], arrays["images"], arrays["ends"])


def load_encoder(folder: Path) -> Any:
    """The ID encoder, an `idfsr_jax.networks.id_encoder.IdEncoder`, float32.

    Raises:
      InputError: there is no pack, or it is damaged.
    """
    from idfsr_jax.networks.dlib_resnet import DlibResNet
    from idfsr_jax.networks.id_encoder import IdEncoder
    from idfsr_jax.networks.iresnet import IResNet

    manifest = read_manifest(folder)
    params, fields = unpack_tree(_load(folder, ENCODER, manifest)), manifest.get("network")
    if not fields:
        return IdEncoder(params, manifest["encoder"], DlibResNet())
    blocks = tuple((width, stride) for width, stride in fields["blocks"])
    return IdEncoder(params, manifest["encoder"], IResNet(**{**fields, "blocks": blocks}))


def load_perceptual(folder: Path) -> Any:
    """LPIPS's parameters, for `networks.perceptual`, float32.

    Raises:
      InputError: there is no pack, it is of a time when packs had none, or it is damaged.
    """
    manifest = read_manifest(folder)
    if PERCEPTUAL not in manifest["sha256"]:
        raise InputError(f"{folder}: has no LPIPS weights, which train.rollout_fraction asks for; pack the data again.")
    halves = _load(folder, PERCEPTUAL, manifest)
    return unpack_tree({name: value.astype(np.float32) for name, value in halves.items()})


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads and checks `manifest.json`; its `self_sha256` names the pack.

    Raises:
      InputError: there is none, or it is damaged or of another format.
    """
    path = folder / MANIFEST
    try:
        manifest = read_summed_json(path)
    except OSError as error:
        raise InputError(f"{folder}: holds no pack; make one with `idfsr pack --out {folder}`.") from error
    except ValueError as error:
        raise InputError(f"{path}: is damaged; pack the data set again.") from error
    if manifest.get("format") != FORMAT:
        raise InputError(f"{path}: is of another version; pack the data set again.")
    return manifest


def pack_tree(params: Any) -> dict[str, np.ndarray]:
    """A parameter tree with its kernels in 8 bits, each output channel (last axis) with a scale of its own."""
    packed: dict[str, np.ndarray] = {}
    for name, value in flax.traverse_util.flatten_dict(params, sep="/").items():
        array = np.asarray(value, np.float32)
        if array.ndim > 1:
            scale = np.maximum(np.abs(array).max(axis=tuple(range(array.ndim - 1))), 1e-30) / np.float32(127)
            packed[f"{name}:scale"] = scale
            array = np.rint(array / scale).astype(np.int8)
        packed[name] = np.ascontiguousarray(array)
    return packed


def unpack_tree(packed: dict[str, np.ndarray]) -> Any:
    """Inverse of `pack_tree`, up to rounding."""
    flat = {
        name: array.astype(np.float32) * packed[f"{name}:scale"] if array.dtype == np.int8 else array
        for name, array in packed.items()
        if not name.endswith(":scale")
    }
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def _load(folder: Path, name: str, manifest: dict[str, Any]) -> dict[str, np.ndarray]:
    path = folder / f"{name}.safetensors"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); pack the data set again.") from error
    if hashlib.sha256(data).hexdigest() != manifest["sha256"].get(name):
        raise InputError(f"{path}: its SHA-256 sum is not the recorded one, so it is damaged; pack the data set again.")
    try:
        return load_safetensors(data)
    except SafetensorError as error:
        raise InputError(f"{path}: is not a readable safetensors file; pack the data set again.") from error
