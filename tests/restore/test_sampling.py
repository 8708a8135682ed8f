"""A picture is the same alone, in a batch, filled up and over eight devices; and a length is compiled once."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.config import Config
from idfsr_jax.method.condition import Condition
from idfsr_jax.method.denoiser import empty_condition
from idfsr_jax.method.finish import Finish, finished
from idfsr_jax.method.sample import Agreement, agreement_with, projection, sample_pictures
from idfsr_jax.restore import sampling
from idfsr_jax.restore.conditions import tables_of
from idfsr_jax.restore.sampling import Networks, sample_many
from idfsr_jax.runtime.devices import data_mesh, everywhere

COUNT = 9
SIZES = (128, 192)


@pytest.fixture(scope="module")
def condition(tiny_config: Config) -> Condition:
    """Nine conditions, of chance."""
    rng = np.random.default_rng(0)
    empty = empty_condition(COUNT, tiny_config.data.size, tiny_config.model.references, tiny_config.model, SIZES)
    drawn = jax.tree.map(lambda leaf: jnp.asarray(rng.uniform(0, 1, leaf.shape), jnp.float32), empty)
    return drawn.replace(scale=jnp.asarray([4.0, 8.0] * COUNT)[:COUNT], identity_present=jnp.ones(COUNT))


@pytest.fixture(scope="module")
def keys():
    return jax.vmap(jax.random.key)(jnp.arange(COUNT))


def part(tree, rows: slice):
    return jax.tree.map(lambda leaf: leaf[rows], tree)


def agreement(config: Config, sides: list[int], strength: float) -> Agreement:
    rng = np.random.default_rng(1)
    pictures = [rng.integers(64, 192, (n, n, 3)).astype(np.uint8) for n in sides]
    each = [agreement_with(y, strength, tables_of(config.data.size)) for y in pictures]
    return jax.tree.map(lambda *rows: np.concatenate(rows), *each)


@pytest.fixture
def compiled() -> Iterator[Callable[[], int]]:
    """How often the sampler was compiled since it was last asked."""
    names: list[str] = []

    def note(event: str, seconds: float, **facts) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(str(facts.get("fun_name", "")))

    def count() -> int:
        found = sum("_sampled" in name for name in names)
        del names[:]
        return found

    jax.monitoring.register_event_duration_secs_listener(note)
    yield count
    jax.monitoring.unregister_event_duration_listener(note)


def test_alone_or_in_a_batch_on_one_or_eight_devices(tiny_config, tiny_weights, condition, keys):
    params, found = tiny_weights[0], {}
    for devices, count in ((8, 3), (1, COUNT), (8, COUNT)):
        mesh, rows = data_mesh(devices), slice(0, count)
        networks = everywhere(Networks(params, None, None), mesh)
        held = agreement(tiny_config, [5] * count, 0.0)
        found[devices, count] = sample_many(networks, part(condition, rows), keys[rows], tiny_config, SIZES, mesh, held)
        assert found[devices, count].shape == (count, 32, 32, 3)
    noise = jax.random.normal(jax.random.fold_in(keys[4], 0), (1, 32, 32, 3))
    alone = sample_pictures(params, part(condition, slice(4, 5)), noise, tiny_config, SIZES)
    assert np.abs(found[1, COUNT][0] - found[1, COUNT][2]).max() > 0.01
    for (_, count), images in found.items():
        np.testing.assert_allclose(images, found[1, COUNT][:count], atol=1e-5)
    np.testing.assert_allclose(found[8, COUNT][4], np.clip(alone[0], -1.0, 1.0), atol=1e-5)


def test_accelerators_draw_many_at_once(tiny_config, tiny_weights, condition, keys, monkeypatch):
    """What a CPU does one by one."""
    mesh = data_mesh(2)
    networks, held = everywhere(Networks(tiny_weights[0], None, None), mesh), agreement(tiny_config, [5] * COUNT, 0.5)
    one_by_one = sample_many(networks, condition, keys, tiny_config, SIZES, mesh, held)
    for length in (2, 16):
        monkeypatch.setattr(sampling, "_at_once", lambda mesh, length=length: length)
        together = sample_many(networks, condition, keys, tiny_config, SIZES, mesh, held)
        np.testing.assert_allclose(together, one_by_one, atol=1e-5)


def test_variants_are_those_of_one_key_and_more_of_them_change_none(tiny_config, tiny_weights, condition, keys):
    mesh = data_mesh(2)
    networks, same = everywhere(Networks(tiny_weights[0], None, None), mesh), part(condition, np.zeros(3, int))
    held, key, variant = agreement(tiny_config, [5] * 3, 0.0), keys[np.zeros(3, int)], np.arange(3, dtype=np.int32)
    three = sample_many(networks, same, key, tiny_config, SIZES, mesh, held, variant)
    first = sample_many(networks, same, key, tiny_config, SIZES, mesh, held)
    for image in first:
        np.testing.assert_allclose(image, three[0], atol=1e-5)
    assert np.abs(three[1] - three[0]).max() > 0.01 < np.abs(three[2] - three[1]).max()


def test_one_program_for_each_length_and_setting(
    tiny_config, tiny_weights, condition, keys, compiled: Callable[[], int]
):
    """Numbers of pictures, their widths, seeds and strengths compile nothing; CPUs know but one length for each."""
    config = replace(tiny_config, sample=replace(tiny_config.sample, sampler="ddim"))
    mesh = data_mesh(2)
    networks = everywhere(Networks(tiny_weights[0], None, None), mesh)

    def sample(rows: slice, sides: list[int], strength: float) -> None:
        held = agreement(config, sides, strength)
        sample_many(networks, part(condition, rows), keys[rows], config, SIZES, mesh, held)

    sample(slice(0, 2), [4, 4], 0.0)
    assert compiled() == 1
    for rows, sides, strength in ((slice(0, 4), [4] * 4, 0.0), (slice(3, 5), [4, 7], 0.5), (slice(0, 2), [16, 5], 1.0)):
        sample(rows, sides, strength)
    assert compiled() == 0
    sample(slice(0, 3), [4] * 3, 0.0)  # the last of three stands alone, on one device
    assert compiled() == 1
    sample(slice(5, 6), [9], 1.0)
    assert compiled() == 0


def test_what_a_model_has_to_finish_with_is_used(tiny_config, tiny_weights, condition, keys, random_weights):
    mesh, one = data_mesh(1), part(condition, slice(0, 1))
    side, ones = tiny_config.data.size, jnp.ones(1)
    blank = jnp.zeros((1, side, side, 3))
    finish = random_weights(lambda: Finish().init(jax.random.key(0), blank, one, ones)["params"], 0.1)
    held = agreement(tiny_config, [5], 0.5)
    plain, found = (
        sample_many(networks, one, keys[:1], tiny_config, SIZES, mesh, held)
        for networks in (Networks(tiny_weights[0], None, None), Networks(tiny_weights[0], None, None, finish))
    )
    held = jax.tree.map(jnp.asarray, held)
    agreeing = lambda pictures: projection(held)(jnp.clip(pictures, -1.0, 1.0))  # noqa: E731
    expected = finished(finish, jnp.asarray(plain), one, held.strength, agreeing)
    assert np.abs(plain - found).max() > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-4)
