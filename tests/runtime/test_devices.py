"""Eight fake devices of one CPU: what is filled up, who has what, and that no row is changed by it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.io.errors import BadConfig
from idfsr_jax.runtime.devices import bucket, by_shares, cut_rows, data_mesh, everywhere, placed_rows, used


def test_there_are_few_lengths():
    assert [bucket(count, 1) for count in range(1, 10)] == [1, 2, 4, 4, 8, 8, 8, 8, 16]
    assert [bucket(count, 8) for count in (1, 2, 8, 9, 16, 17, 33)] == [1, 8, 8, 16, 16, 32, 64]
    assert [bucket(count, 6) for count in (1, 2, 6, 7, 13)] == [1, 6, 6, 12, 24]


@pytest.mark.parametrize(("devices", "count"), [(1, 1), (1, 3), (8, 1), (8, 5), (8, 9), (3, 4)])
def test_rows_come_back_as_they_were_and_every_device_has_its_share(devices, count):
    rows = {"a": np.arange(count, dtype=np.float32), "b": np.arange(2 * count).reshape(count, 2), "none": None}
    shared, mesh = used(everywhere(np.float32(10), data_mesh(devices)), data_mesh(devices), count)
    placed = placed_rows(rows, mesh)
    length = bucket(count, devices)
    assert placed["a"].shape == (length,) and placed["b"].shape == (length, 2)
    used_devices = min(devices, length)
    assert [shard.data.shape[0] for shard in placed["a"].addressable_shards] == [length // used_devices] * used_devices
    np.testing.assert_array_equal(placed["b"][count:], np.tile(rows["b"][-1:], (length - count, 1)))
    function = jax.jit(by_shares(lambda shared, rows: {"sum": shared + rows["a"]}, mesh))
    cut = cut_rows(function(shared, placed), count)
    np.testing.assert_array_equal(cut["sum"], 10 + rows["a"])


def test_a_single_row_takes_the_first_devices_own_copy():
    mesh = data_mesh()
    tree = everywhere({"x": np.ones((4, 4), np.float32)}, mesh)
    assert mesh.size == 8 and len(tree["x"].addressable_shards) == 8
    own, alone = used(tree, mesh, 1)
    assert own["x"].devices() == {jax.local_devices()[0]} and alone.size == 1
    assert own["x"].unsafe_buffer_pointer() == tree["x"].addressable_shards[0].data.unsafe_buffer_pointer()
    assert used(tree, mesh, 2) == (tree, mesh)


def test_nothing_is_exchanged():
    mesh = data_mesh()
    rows = placed_rows(np.ones((16, 4), np.float32), mesh)
    function = jax.jit(by_shares(lambda shared, rows: jnp.sort(rows @ shared, axis=1), mesh))
    text = function.lower(everywhere(np.eye(4, dtype=np.float32), mesh), rows).compile().as_text()
    assert "f32[2,4]" in text and not any(word in text for word in ("all-gather", "all-reduce", "collective"))


def test_more_devices_than_there_are_is_refused():
    with pytest.raises(BadConfig, match="9 devices are asked for and there are 8"):
        data_mesh(9)
