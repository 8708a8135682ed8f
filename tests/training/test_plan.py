import dataclasses
import math
import re
from functools import partial

import jax
import pytest

from idfsr_jax.config import Config
from idfsr_jax.data.pipeline import load_index, training_examples
from idfsr_jax.errors import BadConfig
from idfsr_jax.latent.autoencoder import reduction
from idfsr_jax.networks.id_encoder import load_id_encoder
from idfsr_jax.training.abstract import abstract_autoencoder, abstract_batch, abstract_frozen
from idfsr_jax.training.mesh import make_mesh, placed, state_shardings
from idfsr_jax.training.plan import GIB, device_batch, plan_run, state_bytes, step_cost
from idfsr_jax.training.start import initial_state

PEAK = 1e12


def with_train(config: Config, **changes) -> Config:
    return dataclasses.replace(config, train=dataclasses.replace(config.train, **changes))


def with_fsdp(config: Config, fsdp: int, least: int = 16) -> Config:
    return dataclasses.replace(config, devices=dataclasses.replace(config.devices, data=0, fsdp=fsdp, fsdp_least=least))


def plan_of(config: Config, devices: int = 4, *, memory: float = 1.0, working: int = 50_000_000):
    """A plan without a compile: each example of a part takes so many bytes, and the gradients what they do."""

    def cost(config: Config, devices: int) -> tuple[float, int]:
        gradients = 4 * sum(
            leaf.size for leaf in jax.tree.leaves(jax.eval_shape(partial(initial_state, config)).params)
        )
        parts, examples = config.train.accumulate, config.train.batch // devices
        return 1e9 * config.train.batch, gradients * (1 + (parts > 1)) + working * examples // parts

    return plan_run(config, devices, peak=PEAK, memory=memory, share=0.5, cost=cost)


def test_the_bytes_of_a_state_are_those_that_real_devices_hold(tiny_config):
    config = with_fsdp(with_train(tiny_config, batch=8), 4)
    make = partial(initial_state, config)
    real = placed(make(), state_shardings(jax.eval_shape(make), make_mesh(config), config.devices))
    held = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(real))
    assert state_bytes(jax.eval_shape(make), config.devices, 8, 4) == held
    whole = sum(leaf.nbytes for leaf in jax.tree.leaves(real))
    assert state_bytes(jax.eval_shape(make), config.devices, 8, 1) == whole > 2 * held


def test_the_abstract_batch_is_what_the_pipeline_makes(tiny_config, noise_faces):
    data = dataclasses.replace(tiny_config.data, dataset=str(noise_faces), workers=1)
    real = dict(next(iter(training_examples(data, 0, tiny_config.train.batch, "train"))))
    assert load_index(str(noise_faces), "train").embeddings.shape[1] == tiny_config.model.identity_dim
    del real["record"]
    abstract = abstract_batch(tiny_config)
    assert {name: (x.shape, x.dtype) for name, x in real.items()} == {
        name: (x.shape, x.dtype) for name, x in abstract.items()
    }


def test_the_abstract_recogniser_is_the_real_one(tiny_config):
    real = load_id_encoder().params
    abstract = abstract_frozen(with_train(tiny_config, identity_loss=0.1))["encoder"]
    assert jax.tree.map(lambda x: (x.shape, x.dtype), real) == jax.tree.map(
        lambda x: (x.shape, x.dtype), abstract.params
    )
    assert abstract_frozen(with_train(tiny_config, identity_loss=0.0))["encoder"] is None


def test_the_cost_of_a_step_is_that_of_the_program(tiny_config):
    config = with_train(tiny_config, batch=8)
    flops, working = step_cost(config, 2)
    params = jax.eval_shape(partial(initial_state, config)).params
    assert flops > 3 * 2 * 8 * _kernel_flops(params), "a forward pass, and twice as much backwards"
    gradients = 4 * sum(leaf.size for leaf in jax.tree.leaves(params))
    picture = 4 * 3 * config.data.size**2
    assert gradients + 4 * picture < working < gradients + 4 * 500 * picture


def _kernel_flops(params) -> int:
    """Products of a pass over one pixel at every convolution: far fewer than of a picture."""
    return sum(leaf.size for leaf in jax.tree.leaves(params) if leaf.ndim == 4)


def test_rate_and_memory_follow_from_the_parts(tiny_config):
    plan = plan_of(with_train(tiny_config, batch=4), 2)
    assert plan.images_per_second == pytest.approx(0.5 * 2 * PEAK / 1e9)
    # float32: parameters, averages, two moments; and the step and the optimiser's counts.
    assert 16 * plan.parameters <= plan.state_bytes < 16 * plan.parameters + 64
    assert plan.exchanged_bytes == 4 * plan.parameters
    assert plan.device_bytes == plan.state_bytes + plan.frozen_bytes + plan.batch_bytes + plan.working_bytes
    assert plan.fits and not any("fit" in finding for finding in plan.findings)


def test_a_share_of_a_batch_can_be_dealt_out(tiny_config):
    whole = with_train(tiny_config, batch=64, accumulate=4, identity_loss=0.1, identity_loss_fraction=0.25)
    assert [device_batch(whole, devices) for devices in (1, 4, 8)] == [64, 16, 16]
    assert device_batch(with_train(tiny_config, batch=64), 8) == 8


def test_a_batch_that_cannot_be_shared_is_raised_and_said(tiny_config):
    plan = plan_of(with_train(tiny_config, batch=3))
    assert plan.batch == 4
    assert any("train.batch is 3" in finding and "--train.batch 4" in finding for finding in plan.findings)


def test_what_does_not_fit_is_said_with_what_would(tiny_config):
    config = with_fsdp(with_train(tiny_config, batch=32), 1)
    plan = plan_of(config, working=10_000)
    least = plan.device_bytes - plan.state_bytes // 4
    short = plan_of(config, working=10_000, memory=least / GIB)
    (finding,) = [each for each in short.findings if "does not fit" in each]
    assert "--devices.fsdp 2" in finding and plan_of(with_fsdp(config, 2), working=10_000, memory=least / GIB).fits

    plan = plan_of(config)
    half = plan.state_bytes + plan.frozen_bytes + plan.batch_bytes + plan.working_bytes // 2
    short = plan_of(config, memory=half / GIB)
    (finding,) = [each for each in short.findings if "does not fit" in each]
    changes = dict(re.findall(r"--train.(accumulate|batch) (\d+)", finding))
    assert set(changes) == {"accumulate", "batch"} and "--devices.fsdp" not in finding
    for name, value in changes.items():
        assert plan_of(with_train(config, **{name: int(value)}), memory=half / GIB).fits

    hopeless = plan_of(config, memory=1e-6)
    assert any("more memory" in finding for finding in hopeless.findings)


def test_a_gpu_that_keeps_a_quarter_back_is_told_not_to(tiny_config):
    plan = plan_of(tiny_config, 2)
    tight = plan_of(tiny_config, 2, memory=1.1 * plan.device_bytes / GIB)
    assert tight.fits and any("XLA_PYTHON_CLIENT_MEM_FRACTION" in finding for finding in tight.findings)


def test_groups_that_do_not_divide_the_devices_are_refused(tiny_config):
    with pytest.raises(BadConfig, match="does not divide 8 devices"):
        plan_of(with_fsdp(tiny_config, 3), 8)


def test_the_abstract_autoencoder_has_the_latents_of_the_config(tiny_config):
    assert abstract_autoencoder(tiny_config.model) is None
    model = dataclasses.replace(tiny_config.model, autoencoder="anywhere", latent_channels=16, latent_reduction=8)
    found = abstract_autoencoder(model)
    assert (found.config.latent_channels, reduction(found.config)) == (16, 8)
    # Stable Diffusion's has 83.7 million with 4 latent channels.
    four = abstract_autoencoder(dataclasses.replace(model, latent_channels=4))
    assert round(sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(four.params)) / 1e6, 1) == 83.7
