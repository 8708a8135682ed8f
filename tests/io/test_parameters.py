"""Trees come back from their files, of either precision, whole or in parts."""

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

from idfsr_jax.io.errors import BadWeights
from idfsr_jax.io.parameters import load_parts, load_tree, save_parts, save_tree


def test_large_trees_are_written_in_parts(tmp_path):
    tree = {f"layer_{n}": {"kernel": np.full((10, 10), n, np.float32)} for n in range(5)}
    sums = save_parts(tmp_path, "net", tree, "float32", part_bytes=900)
    assert sorted(sums) == ["net-1.safetensors", "net-2.safetensors", "net-3.safetensors"]
    jax.tree.map(np.testing.assert_array_equal, load_parts(tmp_path, "net", sums), tree)
    damaged = tmp_path / "net-2.safetensors"
    data = damaged.read_bytes()
    damaged.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(BadWeights, match=r"net-2\.safetensors: its SHA-256"):
        load_parts(tmp_path, "net", sums)


def test_bfloat16_halves_the_matrices_and_leaves_vectors_alone(tmp_path):
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(64, 64)).astype(np.float32), rng.normal(size=64).astype(np.float32)
    tree = {"a": {"kernel": kernel}, "bias": bias}
    digest = save_tree(tmp_path / "half.safetensors", tree, "bfloat16")
    stored = load_file(tmp_path / "half.safetensors")
    assert stored["a/kernel"].dtype == ml_dtypes.bfloat16
    assert stored["bias"].dtype == np.float32
    back = load_tree(tmp_path / "half.safetensors", digest)
    assert back["a"]["kernel"].dtype == np.float32
    np.testing.assert_array_equal(back["a"]["kernel"], kernel.astype(ml_dtypes.bfloat16).astype(np.float32))
    assert np.any(back["a"]["kernel"] != tree["a"]["kernel"])
    np.testing.assert_array_equal(back["bias"], tree["bias"])
    save_tree(tmp_path / "full.safetensors", tree)
    small, full = ((tmp_path / f"{name}.safetensors").stat().st_size for name in ("half", "full"))
    assert small < 0.6 * full
