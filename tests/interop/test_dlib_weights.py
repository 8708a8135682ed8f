"""Reading dlib's weights: the right file, and every way in which it can be wrong."""

import numpy as np
import pytest

from idfsr_jax.interop import dlib_weights
from idfsr_jax.io.errors import BadWeights


@pytest.fixture(scope="module")
def content():
    return dlib_weights.default_dlib_resnet().read_bytes()


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


def assert_refused(path, says, **options):
    with pytest.raises(BadWeights) as refusal:
        dlib_weights.read_dlib_resnet(path, **options)
    message = str(refusal.value)
    assert str(path) in message and says in message
    assert "\n" not in message and message.endswith(".")


@pytest.mark.parametrize("share", [0.0, 0.00001, 0.01, 0.5, 0.995])
def test_truncated_file_is_refused_by_hash_and_by_structure(tmp_path, content, share):
    path = tmp_path / "short.dat"
    path.write_bytes(content[: int(share * len(content))])
    assert_refused(path, "SHA-256")
    assert_refused(path, "damaged", sha256=None)


def test_flipped_bit_is_refused(tmp_path, content):
    path = tmp_path / "flipped.dat"
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    assert_refused(path, "SHA-256")


def test_other_files_are_refused(tmp_path, content):
    noise = tmp_path / "noise.dat"
    noise.write_bytes(np.random.default_rng(0).bytes(100_000))
    assert_refused(noise, "damaged", sha256=None)
    sizes = tmp_path / "sizes.dat"
    start = content.index(b"con_4") + len("con_4")
    sizes.write_bytes(content[:start] + b"\x01\x02\x04\xff\xff\xff\x7f" + content[start + 7 :])
    assert_refused(sizes, "damaged", sha256=None)
    assert_refused(tmp_path / "absent.dat", "cannot be read")
    assert_refused(tmp_path, "cannot be read")


def test_hash_check_can_be_left_out(tmp_path, content):
    path = tmp_path / "relabelled.dat"
    path.write_bytes(content + b"\0")
    tree = dlib_weights.read_dlib_resnet(path, sha256=None)
    expected = dlib_weights.read_dlib_resnet()
    np.testing.assert_array_equal(tree["block_7"]["conv_1"]["kernel"], expected["block_7"]["conv_1"]["kernel"])
