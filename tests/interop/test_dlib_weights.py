"""Reading dlib's weights: the right file, and every way in which it can be wrong."""

import numpy as np
import pytest

from idfsr_jax.interop import dlib_weights
from idfsr_jax.io.errors import BadWeights


def test_reads_all_layers():
    tree = dlib_weights.read_dlib_resnet()
    assert set(tree) == {"stem", "embed", *(f"block_{i}" for i in range(14))}
    assert tree["stem"]["kernel"].shape == (7, 7, 3, 32)
    assert tree["block_3"]["conv_1"]["kernel"].shape == (3, 3, 32, 64)
    assert tree["block_13"]["conv_2"]["kernel"].shape == (3, 3, 256, 256)
    assert tree["block_13"]["conv_2"]["bias"].shape == (256,)
    assert tree["embed"]["kernel"].shape == (256, 128)
    assert all(np.isfinite(layer).all() and layer.dtype == np.float32 for layer in _leaves(tree))


def _leaves(tree):
    for value in tree.values():
        yield from _leaves(value) if isinstance(value, dict) else [value]


def assert_refused(path, says):
    with pytest.raises(BadWeights) as refusal:
        dlib_weights.read_dlib_resnet(path)
    message = str(refusal.value)
    assert str(path) in message and says in message
    assert "\n" not in message and message.endswith(".")


def test_another_file_is_refused(tmp_path):
    content = dlib_weights.default_dlib_resnet().read_bytes()
    path, middle = tmp_path / "weights.dat", len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    for wrong in (b"", content[:-1], flipped, content + b"\0"):
        path.write_bytes(wrong)
        assert_refused(path, "SHA-256")
    assert_refused(tmp_path / "absent.dat", "cannot be read")
    assert_refused(tmp_path, "cannot be read")
