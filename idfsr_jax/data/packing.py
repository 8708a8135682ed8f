"""A prepared data set -> a pack of it, see `idfsr_jax.data.pack`."""

import hashlib
import io
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict
from jaxtyping import UInt8
from PIL import Image
from safetensors.numpy import save as save_safetensors

from idfsr_jax.data.index import FaceImages, Index, load_index
from idfsr_jax.data.pack import ENCODER, FORMAT, MANIFEST, PERCEPTUAL, pack_tree, unpack_tree
from idfsr_jax.face import resize_crop
from idfsr_jax.files import write_atomically, write_summed_json
from idfsr_jax.interop.lpips_weights import read_lpips

DEFAULT_QUALITY = 80


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
    """Packs splits of a prepared data set, the ID encoder, and LPIPS by AlexNet.

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
      BadWeights: the encoder's weights or LPIPS's are missing.
    """
    from idfsr_jax.networks.id_encoder import load_id_encoder, require_encoder

    indices = {split: load_index(dataset, split) for split in splits}
    recogniser = load_id_encoder(encoder)
    for index in indices.values():
        require_encoder(index.encoder, recogniser.name, str(dataset), "give the one that it was prepared with")
    (out / MANIFEST).unlink(missing_ok=True)
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
    sums[ENCODER], sizes[ENCODER] = _save(out / f"{ENCODER}.safetensors", packed)
    lpips = {name: value.astype(np.float16) for name, value in flatten_dict(read_lpips("alexnet"), sep="/").items()}
    sums[PERCEPTUAL], sizes[PERCEPTUAL] = _save(out / f"{PERCEPTUAL}.safetensors", lpips)
    manifest = {
        "format": FORMAT,
        "side": side,
        "quality": quality,
        "splits": {split: len(index) for split, index in indices.items()},
        "encoder": recogniser.name,
        "network": _network_fields(recogniser),
        "sha256": sums,
    }
    write_summed_json(out / MANIFEST, manifest)
    return PackReport(sizes, float(np.mean(psnr)), float(np.min(psnr)), cosine)


def encode_crop(crop: UInt8[np.ndarray, "s s 3"], quality: int) -> tuple[bytes, float]:
    """A crop as a WebP file, and the PSNR of what it decodes to, dB."""
    file = io.BytesIO()
    Image.fromarray(crop).save(file, "WEBP", quality=quality, method=6)
    decoded = np.array(Image.open(io.BytesIO(file.getvalue())).convert("RGB"))
    error = np.mean(np.square(decoded.astype(np.float64) - crop))
    return file.getvalue(), float(10 * np.log10(255**2 / max(error, 1e-4)))


def _split_arrays(index: Index, files: Sequence[bytes]) -> dict[str, np.ndarray]:
    names = json.dumps({"people": index.people, "photos": index.photos})
    return {
        "names": np.frombuffer(names.encode(), np.uint8),
        "person": index.person.astype(np.int32),
        "landmarks": index.landmarks.astype(np.float16),
        "frames": index.frames,
        "embeddings": index.embeddings.astype(np.float16),
        "images": np.frombuffer(b"".join(files), np.uint8),
        "ends": np.cumsum([len(file) for file in files]),
    }


def _network_fields(encoder: Any) -> dict[str, Any] | None:
    """What an IResNet is built of; None for dlib's network, of which there is one only."""
    from idfsr_jax.networks.iresnet import IResNet

    network = encoder.network
    if not isinstance(network, IResNet):
        return None
    return {name: getattr(network, name) for name in ("blocks", "dimension", "mean", "deviation")}


def _packed_encoder(encoder: Any, images: FaceImages, index: Index, side: int) -> tuple[dict[str, np.ndarray], float]:
    """The encoder as it is packed, and its least cosine with the encoder as it is."""
    import jax

    from idfsr_jax.networks.id_encoder import identity_of
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
