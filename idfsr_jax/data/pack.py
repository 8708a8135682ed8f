"""A prepared data set packed small: what training needs at one side, in three files and a manifest.

It travels to a machine that has JAX, Flax, Optax, Orbax and Pillow alone. Crops are WebP; landmarks and descriptors are
half floats; the ID encoder, for the identity loss, has its kernels in 8 bits with a scale for each output channel.
Every file's SHA-256 stands in `manifest.json`, which is written last and carries one of its own.
"""

import hashlib
import io
import json
import os
from collections.abc import Callable, Sequence
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
from safetensors.numpy import save as save_safetensors

from idfsr_jax.data.index import FaceImages, Index, load_index
from idfsr_jax.errors import InputError
from idfsr_jax.face import resize_crop
from idfsr_jax.files import read_summed_json, write_atomically, write_summed_json

FORMAT = "idfsr-pack-1"
DEFAULT_QUALITY = 80
_MANIFEST = "manifest.json"
_ENCODER = "encoder"


@dataclass(frozen=True)
class PackReport:
    """Outcome of `pack`."""

    sizes: dict[str, int]
    """Bytes of each file."""
    psnr_mean: float
    """Of the packed crops against the resized ones, dB."""
    psnr_least: float
    encoder_cosine_least: float
    """Between centred descriptors of the encoder as packed and as it is, on up to 64 crops of the last split."""

    def __str__(self) -> str:
        total = sum(self.sizes.values()) / 1e6
        files = ", ".join(f"{name} {size / 1e6:.1f}" for name, size in self.sizes.items())
        return (
            f"{total:.1f} MB ({files}); crops {self.psnr_mean:.1f} dB PSNR on average, {self.psnr_least:.1f} at least; "
            f"encoder's cosine at least {self.encoder_cosine_least:.5f}."
        )


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


def pack(
    dataset: Path,
    out: Path,
    *,
    side: int,
    quality: int = DEFAULT_QUALITY,
    splits: Sequence[str] = ("train", "val"),
    encoder: str = "dlib",
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PackReport:
    """Packs splits of a prepared data set, and the ID encoder.

    Args:
      dataset: folder that `prepare` wrote.
      out: folder to write to; an earlier pack in it is replaced.
      side: of the packed crops, pixels.
      quality: of WebP, 0 to 100.
      splits: names; descriptors of the last one's crops show what packing does to the encoder.
      encoder: "dlib", or "arcface:PATH": the one that the data set was prepared with.
      workers: encoding threads; one for each core if None.
      progress: called with (crops done, crops in all) now and then.

    Raises:
      InputError: there is no such data set or split, or it was prepared with another encoder.
      BadWeights: the encoder's weights are missing.
    """
    from idfsr_jax.models.id_encoder import load_id_encoder, require_encoder

    indices = {split: load_index(dataset, split) for split in splits}
    recogniser = load_id_encoder(encoder)
    for index in indices.values():
        require_encoder(index.encoder, recogniser.name, str(dataset), "give the one that it was prepared with")
    (out / _MANIFEST).unlink(missing_ok=True)
    total, done = sum(len(index) for index in indices.values()), 0
    sums: dict[str, str] = {}
    sizes: dict[str, int] = {}
    psnr: list[float] = []
    for split, index in indices.items():
        images = FaceImages(dataset, split)

        def encode(record: int, images: FaceImages = images) -> tuple[bytes, float]:
            return encode_crop(resize_crop(images.read(record, least_side=2 * side), side), quality)

        files: list[bytes] = []
        with ThreadPoolExecutor(workers or os.cpu_count()) as threads:
            for file, decibels in threads.map(encode, range(len(index))):
                files.append(file)
                psnr.append(decibels)
                done += 1
                if done % 100 == 0 or done == total:
                    progress(done, total)
        sums[split], sizes[split] = _save(out / f"{split}.safetensors", _split_arrays(index, files))
    packed, cosine = _packed_encoder(recogniser, FaceImages(dataset, splits[-1]), indices[splits[-1]], side)
    sums[_ENCODER], sizes[_ENCODER] = _save(out / f"{_ENCODER}.safetensors", packed)
    manifest = {
        "format": FORMAT,
        "side": side,
        "quality": quality,
        "splits": {split: len(index) for split, index in indices.items()},
        "encoder": recogniser.name,
        "network": _network_fields(recogniser),
        "sha256": sums,
    }
    write_summed_json(out / _MANIFEST, manifest)
    return PackReport(sizes, float(np.mean(psnr)), float(np.min(psnr)), cosine)


def encode_crop(crop: UInt8[np.ndarray, "s s 3"], quality: int) -> tuple[bytes, float]:
    """A crop as a WebP file, and the PSNR of what it decodes to, dB."""
    file = io.BytesIO()
    Image.fromarray(crop).save(file, "WEBP", quality=quality, method=6)
    decoded = np.array(Image.open(io.BytesIO(file.getvalue())).convert("RGB"))
    error = np.mean(np.square(decoded.astype(np.float64) - crop))
    return file.getvalue(), float(10 * np.log10(255**2 / max(error, 1e-4)))


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
        embeddings=arrays["embeddings"].astype(np.float32),
        encoder=manifest["encoder"],
    )
    return PackedSplit(index, manifest["side"], arrays["images"], arrays["ends"])


def load_encoder(folder: Path) -> Any:
    """The ID encoder, an `idfsr_jax.models.id_encoder.IdEncoder`, float32.

    Raises:
      InputError: there is no pack, or it is damaged.
    """
    from idfsr_jax.models.dlib_resnet import DlibResNet
    from idfsr_jax.models.id_encoder import IdEncoder
    from idfsr_jax.models.iresnet import IResNet

    manifest = read_manifest(folder)
    params, fields = unpack_tree(_load(folder, _ENCODER, manifest)), manifest.get("network")
    if not fields:
        return IdEncoder(params, manifest["encoder"], DlibResNet())
    blocks = tuple((width, stride) for width, stride in fields["blocks"])
    return IdEncoder(params, manifest["encoder"], IResNet(**{**fields, "blocks": blocks}))


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads and checks `manifest.json`; its `self_sha256` names the pack.

    Raises:
      InputError: there is none, or it is damaged or of another format.
    """
    path = folder / _MANIFEST
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


def _split_arrays(index: Index, files: Sequence[bytes]) -> dict[str, np.ndarray]:
    names = json.dumps({"people": index.people, "photos": index.photos})
    return {
        "names": np.frombuffer(names.encode(), np.uint8),
        "person": index.person.astype(np.int32),
        "landmarks": index.landmarks.astype(np.float16),
        "embeddings": index.embeddings.astype(np.float16),
        "images": np.frombuffer(b"".join(files), np.uint8),
        "ends": np.cumsum([len(file) for file in files]),
    }


def _network_fields(encoder: Any) -> dict[str, Any] | None:
    """What an IResNet is built of; None for dlib's network, of which there is one only."""
    from idfsr_jax.models.iresnet import IResNet

    network = encoder.network
    if not isinstance(network, IResNet):
        return None
    return {name: getattr(network, name) for name in ("blocks", "dimension", "mean", "deviation")}


def _packed_encoder(encoder: Any, images: FaceImages, index: Index, side: int) -> tuple[dict[str, np.ndarray], float]:
    """The encoder as it is packed, and its least cosine with the encoder as it is."""
    import jax

    from idfsr_jax.models.id_encoder import identity_of
    from idfsr_jax.pictures import to_float

    packed = pack_tree(encoder.params)
    shown = min(64, len(index))
    crops = to_float(np.stack([resize_crop(images.read(record), side) for record in range(shown)]))
    rest = (crops, index.landmarks[:shown], index.mean_descriptor())
    # Compiled with the pictures as arguments: constants would be folded, slowly.
    coarse = encoder.replace(params=unpack_tree(packed))
    exact, rounded = (np.asarray(jax.jit(identity_of)(each, *rest)) for each in (encoder, coarse))
    cosines = np.sum(exact * rounded, axis=1)
    return packed, float(cosines.min())


def _save(path: Path, arrays: dict[str, np.ndarray]) -> tuple[str, int]:
    data = save_safetensors(arrays)
    write_atomically(path, lambda file: file.write(data))
    return hashlib.sha256(data).hexdigest(), len(data)


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
