"""A picture is the same alone, in a batch, filled up and over eight devices; and a length is compiled once."""

from collections.abc import Iterator
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax import sampling
from idfsr_jax.config import Config
from idfsr_jax.data.degrade import area_downsample
from idfsr_jax.devices import data_mesh, everywhere
from idfsr_jax.models.condition import Condition, paste
from idfsr_jax.sampling import compile_ahead, in_corner, restore_crops, restore_many

COUNT = 9


@pytest.fixture(scope="module")
def condition(tiny_config: Config) -> Condition:
    """Nine conditions of two scales, in turns."""
    rng, side = np.random.default_rng(0), tiny_config.data.size
    draw = lambda *shape: jnp.asarray(rng.uniform(-1, 1, (COUNT, *shape)), jnp.float32)  # noqa: E731
    ones = jnp.ones((COUNT, side, side, 1))
    identity = draw(tiny_config.model.identity_dim)
    scale = jnp.asarray([4.0, 8.0] * COUNT)[:COUNT]
    return Condition(draw(side, side, 3), ones, draw(side, side, 3), ones, identity, jnp.ones(COUNT), scale)


def part(tree, rows: slice):
    return jax.tree.map(lambda leaf: leaf[rows], tree)


@pytest.fixture(scope="module")
def keys():
    return jax.vmap(jax.random.key)(jnp.arange(COUNT))


@pytest.fixture(scope="module")
def small(tiny_config: Config) -> np.ndarray:
    """LR pictures of the conditions' scales."""
    rng = np.random.default_rng(1)
    sides = [tiny_config.data.size // (4, 8)[index % 2] for index in range(COUNT)]
    crops = [rng.uniform(-0.5, 0.5, (1, side, side, 3)).astype(np.float32) for side in sides]
    return np.concatenate([in_corner(crop, tiny_config) for crop in crops])


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of what is compiled, whether or not it lies in the cache of an earlier run."""
    names: list[str] = []

    def note(event: str, seconds: float, **facts) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(str(facts.get("fun_name", "")))

    jax.monitoring.register_event_duration_secs_listener(note)
    yield names
    jax.monitoring.unregister_event_duration_listener(note)


@pytest.mark.parametrize("sampler", ["dpm++2m", "ancestral"])
def test_alone_or_in_a_batch_on_one_or_eight_devices(tiny_config, tiny_weights, condition, keys, sampler):
    config = replace(tiny_config, sample=replace(tiny_config.sample, sampler=sampler))
    params = tiny_weights[0]
    found = {}
    for devices, count in ((8, 1), (8, 3), (1, COUNT), (8, COUNT)):
        mesh, rows = data_mesh(devices), slice(0, count)
        networks = everywhere((params, None), mesh)
        found[devices, count] = restore_many(networks, part(condition, rows), keys[rows], config, mesh)
        assert found[devices, count].shape == (count, 1, 32, 32, 3)
    assert np.abs(found[1, COUNT][0] - found[1, COUNT][2]).max() > 0.01
    for (_, count), images in found.items():
        np.testing.assert_allclose(images, found[1, COUNT][:count], atol=1e-5)
    alone = [restore_crops(params, part(condition, slice(i, i + 1)), keys[i], config) for i in (0, 4)]
    np.testing.assert_allclose(found[8, COUNT][[0, 4]], np.stack(alone), atol=1e-5)


def test_variants_are_those_of_one_key_and_more_of_them_change_none(tiny_config, tiny_weights, condition, keys):
    mesh = data_mesh()
    networks, two = everywhere((tiny_weights[0], None), mesh), part(condition, slice(0, 2))
    three = restore_many(networks, two, keys[:2], tiny_config, mesh, variants=3)
    one = restore_many(networks, two, keys[:2], tiny_config, mesh)
    np.testing.assert_allclose(three[:, :1], one, atol=1e-5)
    assert np.abs(three[:, 1] - three[:, 0]).max() > 0.01 < np.abs(three[:, 2] - three[:, 1]).max()


def test_consistency_holds_for_each_at_its_own_scale(tiny_config, tiny_weights, condition, keys, small):
    mesh = data_mesh()
    networks = everywhere((tiny_weights[0], None), mesh)
    given = {"low_resolution": small, "consistency": 1.0}
    images = restore_many(networks, condition, keys, tiny_config, mesh, **given)
    for index, scale in enumerate((4, 8, 4)):
        reduced, side = area_downsample(jnp.asarray(images[index]), scale), 32 // scale
        np.testing.assert_allclose(reduced[0], small[index, :side, :side], atol=1e-4)
    y = jnp.asarray(small[1:2, :4, :4])
    alone = restore_crops(tiny_weights[0], part(condition, slice(1, 2)), keys[1], tiny_config, y, 1.0)
    np.testing.assert_allclose(images[1], alone, atol=1e-5)


def test_one_program_for_each_length_and_setting(
    tiny_config, tiny_weights, condition, keys, small, compilations: list[str]
):
    """Numbers of pictures, seeds, scales and strengths compile nothing."""
    # A configuration that no other test has compiled.
    config = replace(tiny_config, sample=replace(tiny_config.sample, steps=3))
    mesh = data_mesh()
    networks = everywhere((tiny_weights[0], None), mesh)

    def compiled(*rows: slice, **given) -> int:
        before = sampling.restore_rows._cache_size()
        del compilations[:]
        for each in rows:
            restore_many(networks, part(condition, each), keys[each], config, mesh, **given)
        found = sampling.restore_rows._cache_size() - before
        assert found == sum("restore_rows" in name for name in compilations)
        return found

    assert compiled(slice(0, 1), slice(1, 2), slice(2, 3)) == 1
    assert compiled(slice(0, 2), slice(1, 6), slice(0, 8)) == 1
    assert compiled(slice(0, 9)) == 1
    assert compiled(slice(0, 1), slice(0, 5), slice(0, 9)) == 0
    for strength, count in ((0.5, 1), (1.0, 0), (0.25, 0)):
        assert compiled(slice(3, 4), consistency=strength, low_resolution=small[3:4]) == count
        assert compiled(slice(0, 1), consistency=strength, low_resolution=small[:1]) == 0


def test_what_was_compiled_ahead_is_not_compiled_again(
    tiny_config, tiny_weights, condition, keys, small, compilations: list[str]
):
    config = replace(tiny_config, sample=replace(tiny_config.sample, sampler="ddim"))
    mesh = data_mesh(2)
    networks = everywhere((tiny_weights[0], None), mesh)
    compile_ahead(networks, config, mesh, 3, consistent=True)
    assert sum("restore_rows" in name for name in compilations) == 1
    del compilations[:]
    images = restore_many(
        networks, part(condition, slice(0, 4)), keys[:4], config, mesh, low_resolution=small[:4], consistency=0.5
    )
    assert images.shape[0] == 4 and not any("restore_rows" in name for name in compilations)


def test_the_result_has_its_share_of_the_guess_and_still_agrees_with_the_input(
    tiny_config, tiny_weights, condition, small
):
    rows = part(condition, slice(0, 1))
    mixed = replace(tiny_config, sample=replace(tiny_config.sample, guess_share=0.5))
    y = jnp.asarray(small[:1, : tiny_config.data.size // 4, : tiny_config.data.size // 4])
    key = jax.random.key(3)
    plain = restore_crops(tiny_weights[0], rows, key, tiny_config)
    guess = jnp.clip(paste(rows, tiny_config.model.mask), -1, 1)
    found = restore_crops(tiny_weights[0], rows, key, mixed)
    np.testing.assert_allclose(found, (plain + guess) / 2, atol=1e-5)
    agreeing = restore_crops(tiny_weights[0], rows, key, mixed, y, 1.0)
    np.testing.assert_allclose(area_downsample(agreeing, 4), y, atol=1e-4)
