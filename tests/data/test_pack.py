import json

import jax
import numpy as np
import pytest

from idfsr_jax.data import packing
from idfsr_jax.data.index import FaceImages, load_index
from idfsr_jax.data.pack import load_encoder, load_perceptual, load_split, pack_tree, read_manifest, unpack_tree
from idfsr_jax.errors import InputError
from idfsr_jax.face import resize_crop
from idfsr_jax.files import write_summed_json
from idfsr_jax.interop.lpips_weights import read_lpips
from idfsr_jax.networks.perceptual import perceptual_distance


@pytest.fixture(scope="module")
def packed(small_dataset, tmp_path_factory):
    """A pack of the small data set, and the report."""
    out = tmp_path_factory.mktemp("pack")
    return out, packing.pack(small_dataset, out, side=64)


@pytest.fixture
def copy(packed, tmp_path):
    """A copy that a test may damage."""
    for path in packed[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_comes_back(packed, small_dataset, split):
    expected, found = load_index(small_dataset, split), load_split(packed[0], split)
    assert (found.index.people, found.index.photos) == (expected.people, expected.photos)
    assert found.index.encoder == expected.encoder
    np.testing.assert_array_equal(found.index.person, expected.person)
    np.testing.assert_allclose(found.index.landmarks, expected.landmarks, atol=0.00025)
    np.testing.assert_allclose(found.index.embeddings, expected.embeddings, rtol=5e-4, atol=1e-6)


@pytest.mark.parametrize("size", [64, 32])
def test_crops_come_back_nearly(packed, small_dataset, size):
    split, images = load_split(packed[0], "train"), FaceImages(small_dataset, "train")
    crops = split.decode(size, workers=3)
    for record, crop in enumerate(crops):
        error = crop.astype(float) - resize_crop(images.read(record), size)
        assert np.sqrt(np.mean(error**2)) < 8, record
    assert len({crop.tobytes() for crop in crops}) == len(crops)


def test_the_report_tells_sizes_and_quality(packed):
    out, report = packed
    assert report.sizes == {name: (out / f"{name}.safetensors").stat().st_size for name in report.sizes}
    assert 25 < report.psnr_least <= report.psnr_mean < 60
    assert 0.99 < report.encoder_cosine_least < 1
    assert "dB" in str(report)


def test_better_quality_is_larger_and_nearer():
    crop = resize_crop(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8), 64)
    (small, low), (large, high) = packing.encode_crop(crop, 30), packing.encode_crop(crop, 95)
    assert len(small) < len(large) and low < high


def test_kernels_are_kept_to_half_a_step_of_their_channel():
    rng = np.random.default_rng(0)
    sizes = np.logspace(-3, 3, 6)
    kernel, bias = rng.normal(size=(3, 3, 4, 6)) * sizes, rng.normal(size=6)
    params = {"a": {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}}
    packed = pack_tree(params)
    assert packed["a/kernel"].dtype == np.int8
    found = unpack_tree(packed)
    step = np.abs(params["a"]["kernel"]).max(axis=(0, 1, 2)) / 127
    assert np.all(np.abs(found["a"]["kernel"] - params["a"]["kernel"]) <= 0.501 * step)
    np.testing.assert_array_equal(found["a"]["bias"], params["a"]["bias"])


def test_lpips_comes_back_nearly(packed):
    one, other = jax.random.uniform(jax.random.key(0), (2, 4, 64, 64, 3), minval=-1.0)
    near = one + 0.3 * (other - one)
    coarse, exact = (perceptual_distance(p, near, one) for p in (load_perceptual(packed[0]), read_lpips("alexnet")))
    np.testing.assert_allclose(coarse, exact, rtol=0.001)
    assert not np.array_equal(coarse, exact)


def test_a_pack_of_before_it_had_lpips_says_so(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["self_sha256"], manifest["sha256"]["perceptual"]
    write_summed_json(copy / "manifest.json", manifest)
    assert load_split(copy, "train").side == 64
    with pytest.raises(InputError, match=r"no LPIPS weights.* pack the data again"):
        load_perceptual(copy)


@pytest.mark.parametrize("name", ["train", "encoder", "perceptual"])
def test_a_flipped_bit_is_found(copy, name):
    path = copy / f"{name}.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"{name}.*damaged"):
        {"encoder": load_encoder, "perceptual": load_perceptual}.get(name, lambda copy: load_split(copy, name))(copy)


def test_a_changed_manifest_is_refused(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"side": 32}))
    with pytest.raises(InputError, match="damaged"):
        load_split(copy, "train")


@pytest.mark.parametrize("text", ["", "[]", "{}", "7"])
def test_nonsense_is_no_manifest(copy, text):
    (copy / "manifest.json").write_text(text)
    with pytest.raises(InputError, match="damaged"):
        read_manifest(copy)


def test_what_is_missing_is_named(copy, tmp_path_factory):
    with pytest.raises(InputError, match="idfsr pack"):
        load_split(tmp_path_factory.mktemp("empty"), "train")
    with pytest.raises(InputError, match="no split test"):
        load_split(copy, "test")
    (copy / "val.safetensors").unlink()
    with pytest.raises(InputError, match=r"val\.safetensors"):
        load_split(copy, "val")


def test_a_pack_that_was_not_finished_is_none(copy, small_dataset, monkeypatch):
    monkeypatch.setattr(packing, "_packed_encoder", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        packing.pack(small_dataset, copy, side=64)
    with pytest.raises(InputError, match="holds no pack"):
        load_split(copy, "train")
