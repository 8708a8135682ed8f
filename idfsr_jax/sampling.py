"""From a condition to a picture: the denoiser inside a sampler, one compiled call."""

import dataclasses
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Key, Num, PRNGKeyArray

from idfsr_jax.config import Config
from idfsr_jax.data.degrade import data_consistency
from idfsr_jax.devices import by_shares, cut_rows, placed_rows, used
from idfsr_jax.diffusion.samplers import Denoise, Project, guided, sample
from idfsr_jax.models.condition import Condition, repeat, towards_guess, without_identity
from idfsr_jax.models.denoiser import denoiser_of


@partial(jax.jit, static_argnames="config")
def restore_crops(
    params: Any,
    condition: Condition,
    key: PRNGKeyArray,
    config: Config,
    low_resolution: Float[Array, "b n n 3"] | None = None,
    consistency: Float[Array, ""] | float = 0.0,
) -> Float[Array, "b s s 3"]:
    """Samples one restoration per condition, in [-1, 1].

    Args:
      params: the denoiser's parameters.
      condition: what is known, in pixels.
      key: source of the noise.
      config: static; `config.sample` says how to sample.
      low_resolution: the LR pictures y, for data consistency; all of one scale. None leaves it out.
      consistency: strength of the projection onto pictures that down-sample to y, 0 to 1.
    """
    project: Project | None = None
    if low_resolution is not None:
        project = data_consistency(low_resolution, condition.hidden.shape[1], consistency)  # type: ignore[arg-type]
    return sample_crops(params, condition, key, config, project)


def sample_crops(
    params: Any,
    condition: Condition,
    key: PRNGKeyArray,
    config: Config,
    project: Project | None = None,
) -> Float[Array, "b s s 3"]:
    """What `restore_crops` compiles; `project` is applied to every estimate of the result."""
    network = partial(denoiser_of(config).apply, {"params": params})
    shape, side = condition.hidden.shape, condition.hidden.shape[1]
    denoise: Denoise = lambda x_t, log_snr: network(x_t, log_snr, condition)  # noqa: E731
    if config.sample.guidance != 1.0:
        null = without_identity(condition)
        denoise = guided(denoise, lambda x_t, log_snr: network(x_t, log_snr, null), config.sample.guidance)
    noise = config.sample.temperature * jax.random.normal(jax.random.fold_in(key, 0), shape)
    share = config.sample.guess_share
    pictures = sample(denoise, key, shape, config.sample, config.diffusion, side, project=project, noise=noise)  # type: ignore[arg-type]
    if share == 0:
        return pictures
    pictures = towards_guess(pictures, condition, share, config.model.mask)
    return pictures if project is None else project(pictures)


def restore_many(
    networks: Any,
    condition: Condition,
    keys: Key[Array, " b"],
    config: Config,
    mesh: Mesh,
    *,
    low_resolution: Float[np.ndarray, "b m m 3"] | None = None,
    consistency: float = 0.0,
    variants: int = 1,
) -> Float[np.ndarray, "b v s s 3"]:
    """Samples restorations of any number of conditions, in [-1, 1], over the devices of a mesh.

    Every condition has a key and is sampled as by `restore_crops` alone: what comes of it depends neither on the batch
    that it is in nor on the devices, but for rounding. There is one program for each length of `devices.bucket`, which
    serves all scales, keys and strengths.

    Args:
      networks: (the denoiser's parameters, None), put `devices.everywhere` on the mesh.
      condition: b of them, in pixels.
      keys: source of the noise of each.
      config: static; `config.sample` says how to sample.
      mesh: of `devices.data_mesh`.
      low_resolution: the LR pictures `in_corner`, for data consistency. None leaves it out.
      consistency: strength, see `restore_crops`.
      variants: v samples of each condition. More of them change none of the first.
    """
    count = condition.scale.shape[0]
    networks, mesh = used(networks, mesh, count)
    rows = placed_rows(_rows(condition, keys, low_resolution), mesh)
    return cut_rows(restore_rows((networks, np.float32(consistency)), rows, config, variants, mesh), count)


def compile_ahead(
    networks: Any, config: Config, mesh: Mesh, count: int, *, consistent: bool = False, variants: int = 1
) -> None:
    """Compiles what `restore_many` needs for `count` conditions, and for all numbers of the same `devices.bucket`.

    Args:
      networks: see `restore_many`, as for the others.
      config: static.
      mesh: the devices.
      count: at least 1.
      consistent: whether LR pictures will be given.
      variants: of each.
    """
    networks, mesh = used(networks, mesh, count)
    size = config.data.size
    picture, plane = jnp.zeros((count, size, size, 3)), jnp.zeros((count, size, size, 1))
    number = jnp.zeros(count)
    identity = jnp.zeros((count, config.model.identity_dim))
    condition = Condition(picture, plane, picture, plane, identity, number, number)
    low_resolution = in_corner(np.zeros((count, 1, 1, 3), np.float32), config) if consistent else None
    keys = jnp.broadcast_to(jax.random.key(0), (count,))
    rows = placed_rows(_rows(condition, keys, low_resolution), mesh)
    restore_rows.lower((networks, np.float32(0.0)), rows, config, variants, mesh).compile()


def _rows(condition: Condition, keys: Key[Array, " b"], low_resolution: Float[np.ndarray, "b m m 3"] | None) -> Any:
    """What each condition has of its own."""
    fields = {field.name: getattr(condition, field.name) for field in dataclasses.fields(condition)}  # type: ignore[arg-type]
    return {"condition": fields, "key": jax.random.key_data(keys), "low_resolution": low_resolution}


@partial(jax.jit, static_argnames=("config", "variants", "mesh"))
def restore_rows(shared: Any, rows: Any, config: Config, variants: int, mesh: Mesh) -> Float[Array, "b v s s 3"]:
    """What `restore_many` compiles; `shared` are the networks and the strength."""
    return by_shares(partial(_restore_share, config=config, variants=variants), mesh)(shared, rows)


def _restore_share(shared: Any, rows: Any, config: Config, variants: int) -> Float[Array, "b v s s 3"]:
    (denoiser, _), consistency = shared

    def one(row: Any) -> Float[Array, "v s s 3"]:
        fields, y = jax.tree.map(lambda leaf: leaf[None], (row["condition"], row["low_resolution"]))
        condition, project = repeat(Condition(**fields), variants), None
        if y is not None:
            project = consistency_at(jnp.repeat(y, variants, axis=0), condition.scale[0], config, consistency)
        key = jax.random.wrap_key_data(row["key"])
        return sample_crops(denoiser, condition, key, config, project)

    return jax.vmap(one)(rows)


def in_corner(low_resolution: Float[np.ndarray, "b n n 3"], config: Config) -> Float[np.ndarray, "b m m 3"]:
    """LR pictures of any of the model's scales in one shape: in the upper left corner of the largest's."""
    side = config.data.size // min(config.data.scales)
    rest = side - low_resolution.shape[1]
    return np.pad(low_resolution, ((0, 0), (0, rest), (0, rest), (0, 0)))


def consistency_at(
    low_resolution: Float[Array, "b m m 3"], scale: Num[Array, ""], config: Config, strength: Float[Array, ""]
) -> Project:
    """`data_consistency` with LR pictures `in_corner`, of the one scale among the model's that is given, traced."""
    size, scales = config.data.size, config.data.scales
    # Each scale has shapes of its own, so each is a branch.
    crops = [low_resolution[:, : size // s, : size // s] for s in scales]
    projections = [data_consistency(crop, size, strength) for crop in crops]
    place = jnp.argmax(jnp.asarray(scales, scale.dtype) == scale)
    return lambda x0: jax.lax.switch(place, projections, x0)


def with_sampling(config: Config, steps: int | None, guidance: float | None) -> Config:
    """The configuration with other sampling steps and guidance, where they are given."""
    sample = config.sample
    sample = replace(
        sample,
        steps=sample.steps if steps is None else steps,
        guidance=sample.guidance if guidance is None else guidance,
    )
    return replace(config, sample=sample)
