"""Makes the shipped net that tells how wrong an LR picture is: `python -m tools.input_error_net data/faces`.

It is shown the train split of a prepared data set, made small and spoilt as the model's training does it
(`method.degrade`), and is told the true error: the root mean square difference from the mean of areas.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from idfsr_jax.data.faces import load_faces
from idfsr_jax.io.errors import InputError
from idfsr_jax.io.files import file_sha256
from idfsr_jax.io.parameters import save_tree
from idfsr_jax.method.degrade import ResamplingTables, degrade, draw_degradations, resampling_tables
from idfsr_jax.method.input_error import InputErrorNet
from idfsr_jax.runtime.randomness import step_key
from idfsr_jax.training.log import progress_bar
from idfsr_jax.training.state import update_in_optax

SIZE = 128
CANVASES = (16, 16, 16, 32)
"""Side that LR pictures are filled up to, step by step: mostly small ones, which cost little."""
CLEAN_SHARE = 0.35
"""How many of the pictures are only made small."""
LEAST_ERROR = 0.5
"""Added to an error before its logarithm is taken, in levels: below the rounding to 8 bits nothing is to be told."""
MAX_LOG_GAMMA = 0.5
"""How far the light of a picture is changed."""
_BATCH, _LEARNING_RATE, _HUBER = 48, 2e-3, 0.5


def vary(
    key: PRNGKeyArray, images: UInt8[Array, "b s s 3"], tables: ResamplingTables
) -> tuple[Float[Array, "b m m 3"], Int[Array, " b"], Float[Array, " b"]]:
    """LR pictures in other light, some mirrored, some spoilt, their widths, and their errors in levels of 0..255."""
    flip_key, light_key, draw_key, noise_key = jax.random.split(key, 4)
    batch, most = images.shape[0], tables.down.shape[2]
    flipped = jax.random.bernoulli(flip_key, 0.5, (batch, 1, 1, 1))
    gamma = jnp.exp(jax.random.uniform(light_key, (batch, 1, 1, 1), minval=-MAX_LOG_GAMMA, maxval=MAX_LOG_GAMMA))
    x = jnp.where(flipped, images[:, :, ::-1], images).astype(jnp.float32) / 255.0
    x = 2.0 * jnp.maximum(x, 1e-4) ** gamma - 1.0
    least = 4 if most == min(CANVASES) else min(CANVASES)
    drawn = draw_degradations(draw_key, batch, least=least, most=most, clean_share=CLEAN_SHARE)
    _, y = degrade(x, drawn, tables, noise_key)
    down = jnp.asarray(tables.down)[0, drawn.n - tables.least]
    clean = jnp.einsum("bij,bjkc,blk->bilc", down, x, down, precision="highest")
    mean_square = jnp.sum(jnp.square(y - clean), axis=(1, 2, 3)) / (3.0 * jnp.square(drawn.n.astype(jnp.float32)))
    return y, drawn.n, 127.5 * jnp.sqrt(mean_square)


def train(images: UInt8[np.ndarray, "n s s 3"], steps: int, seed: int, progress: Any) -> Any:
    """The averaged parameters after training on canonical crops; every step follows from (seed, step)."""
    tables = {most: resampling_tables(SIZE, 4, most) for most in set(CANVASES)}
    net, schedule = (
        InputErrorNet(),
        optax.warmup_cosine_decay_schedule(0.0, _LEARNING_RATE, min(100, steps // 2), steps),
    )
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=1e-4))

    def loss_of(params: Any, y: Array, n: Array, error: Array) -> Array:
        told: Any = net.apply({"params": params}, y, n)
        return optax.huber_loss(told, jnp.log(error + LEAST_ERROR), delta=_HUBER).mean()

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def step(params: Any, ema: Any, state: Any, images: Array, tables: ResamplingTables, index: Array) -> tuple:
        y, n, error = vary(step_key(seed, "input-error", index), images, tables)
        loss, gradients = jax.value_and_grad(loss_of)(params, y, n, error)
        updates, state = update_in_optax(optimizer, gradients, state, params)
        params = optax.apply_updates(params, updates)
        ema = optax.incremental_update(params, ema, jnp.maximum(0.005, 1.0 / (index.astype(jnp.float32) + 2.0)))
        return params, ema, state, loss

    first = jnp.zeros((1, min(CANVASES), min(CANVASES), 3)), jnp.full(1, 8)
    params = net.init(step_key(seed, "input-error-weights", 0), *first)["params"]
    ema, state = jax.tree.map(jnp.copy, params), optimizer.init(params)
    for index in range(steps):
        most = CANVASES[index % len(CANVASES)]
        batch = _BATCH if most == min(CANVASES) else _BATCH // 3
        records = np.random.default_rng((seed, index)).integers(0, len(images), batch)
        given = images[records], tables[most], jnp.asarray(index, jnp.int32)
        params, ema, state, loss = step(params, ema, state, *given)
        progress(index + 1, loss)
    return jax.device_get(ema)


def main(
    dataset: tyro.conf.Positional[Path],
    out: Path = Path("input_error_net.safetensors"),
    steps: int = 3_000,
    seed: int = 0,
) -> None:
    """Trains the net and writes its parameters.

    Args:
      dataset: Prepared data set.
      out: File to write.
      steps: Of Adam.
      seed: Of all that is random.
    """
    faces = load_faces(dataset, "train", SIZE)
    with progress_bar("InputErrorNet", steps) as bar:

        def report(step: int, loss: Array) -> None:
            if step % 100 == 0 or step == steps:
                bar(step, f"loss {float(loss):.3f}")

        params = train(faces.images, steps, seed, report)
    save_tree(out, params)
    print(f"{out}  SHA-256 {file_sha256(out)}")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except InputError as error:
        print(f"input_error_net: {error}", file=sys.stderr)
        sys.exit(2)
