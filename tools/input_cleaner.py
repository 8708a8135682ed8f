"""Makes the shipped net that cleans LR pictures: `python -m tools.input_cleaner data/faces`.

It is shown the train split of a prepared data set, made small and spoilt as the model's training does it
(`method.degrade`), and is told the mean of areas, which is what a clean picture is.
"""

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

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
from idfsr_jax.method.cleaning import InputCleaner, within
from idfsr_jax.method.degrade import ResamplingTables, degrade, draw_degradations, resampling_tables
from idfsr_jax.runtime.randomness import step_key
from idfsr_jax.training.averaged import train_averaged
from idfsr_jax.training.log import progress_bar

SIZE = 128


class Kind(NamedTuple):
    """Of a batch: widths of its LR pictures, the side of the window of them that is cleaned, and how many there are."""

    least: int
    most: int
    window: int
    batch: int


KINDS = (Kind(4, 16, 16, 32), Kind(4, 16, 16, 32), Kind(16, 64, 24, 14))
"""Of the batches in turn. Of the larger pictures windows are enough, as what spoils them is the same everywhere."""
CLEAN_SHARE = 0.25
"""How many of the pictures are only made small."""
NOISE_TIMES = 1.6
"""How much stronger noise gets than in the model's own training."""
MAX_LOG_GAMMA = 0.5
"""How far the light of a picture is changed."""
SOFTNESS = (3.0, 0.5)
"""At the first and the last step, the error in levels below which little more is asked for: what is clean already
would otherwise hold back all else at first."""
LEAST_ERROR = 0.5
"""Added to an error before its logarithm is taken, in levels: below the rounding to 8 bits nothing is to be told."""
_LEARNING_RATE, _WARMUP, _HUBER = 1.5e-3, 100, 0.5


def vary(
    key: PRNGKeyArray, images: UInt8[Array, "b s s 3"], tables: ResamplingTables, kind: Kind
) -> tuple[Float[Array, "b w w 3"], Float[Array, "b w w 3"], Int[Array, " b"]]:
    """Windows of LR pictures in other light, some mirrored, some spoilt; the same clean; the LR pictures' widths."""
    flip_key, light_key, draw_key, noise_key, window_key = jax.random.split(key, 5)
    batch = images.shape[0]
    flipped = jax.random.bernoulli(flip_key, 0.5, (batch, 1, 1, 1))
    gamma = jnp.exp(jax.random.uniform(light_key, (batch, 1, 1, 1), minval=-MAX_LOG_GAMMA, maxval=MAX_LOG_GAMMA))
    x = jnp.where(flipped, images[:, :, ::-1], images).astype(jnp.float32) / 255.0
    x = 2.0 * jnp.maximum(x, 1e-4) ** gamma - 1.0
    drawn = draw_degradations(draw_key, batch, least=kind.least, most=kind.most, clean_share=CLEAN_SHARE)
    drawn = drawn.replace(noise=NOISE_TIMES * drawn.noise)  # type: ignore[attr-defined]
    _, y = degrade(x, drawn, tables, noise_key)
    down = jnp.asarray(tables.down)[0, drawn.n - tables.least]
    clean = jnp.einsum("bij,bjkc,blk->bilc", down, x, down, precision="highest")
    room = jnp.maximum(drawn.n - kind.window, 0)
    corners = jnp.floor(jax.random.uniform(window_key, (2, batch)) * (room + 1).astype(jnp.float32)).astype(jnp.int32)
    side = (kind.window, kind.window, 3)
    cut = jax.vmap(lambda picture, row, column: jax.lax.dynamic_slice(picture, (row, column, 0), side))
    return cut(y, *corners), cut(clean, *corners), drawn.n


def loss_of(
    params: Any, y: Float[Array, "b w w 3"], clean: Float[Array, "b w w 3"], n: Int[Array, " b"], softness: Array
) -> Float[Array, ""]:
    """How wrong the cleaned pictures are, root mean square of each, and how wrong it is told that they are."""
    told, log_error = InputCleaner().apply({"params": params}, y, n)  # type: ignore[misc]
    inside = within(y, n)
    square = jnp.sum(jnp.square(told - clean) * inside, axis=(1, 2, 3)) / (3.0 * inside.sum((1, 2, 3)))
    square = 127.5**2 * square
    known = jax.lax.stop_gradient(jnp.log(jnp.sqrt(square) + LEAST_ERROR))
    of_error = optax.huber_loss(log_error, known, delta=_HUBER)
    return jnp.mean(jnp.sqrt(square + softness**2) / 5.0 + of_error)


def train(images: UInt8[np.ndarray, "n s s 3"], steps: int, seed: int, progress: Any) -> Any:
    """The averaged parameters after training on canonical crops; every step follows from (seed, step)."""
    tables = {kind: resampling_tables(SIZE, 4, kind.most) for kind in KINDS}
    first = jnp.zeros((1, 8, 8, 3)), jnp.full(1, 8)
    params = InputCleaner().init(step_key(seed, "input-cleaner-weights", 0), *first)["params"]

    def loss(params: Any, given: tuple[Array, ResamplingTables], index: Array, kind: Kind) -> Array:
        y, clean, n = vary(step_key(seed, "input-cleaner", index), *given, kind)
        softness = SOFTNESS[0] + (SOFTNESS[1] - SOFTNESS[0]) * index.astype(jnp.float32) / steps
        return loss_of(params, y, clean, n, softness)

    def inputs() -> Iterator[tuple[tuple[np.ndarray, ResamplingTables], Kind]]:
        for index in itertools.count():
            kind = KINDS[index % len(KINDS)]
            records = np.random.default_rng((seed, index)).integers(0, len(images), kind.batch)
            yield (images[records], tables[kind]), kind

    return train_averaged(
        loss,
        params,
        inputs(),
        learning_rate=_LEARNING_RATE,
        warmup=_WARMUP,
        steps=steps,
        average=0.005,
        progress=progress,
    )


def main(
    dataset: tyro.conf.Positional[Path],
    out: Path = Path("input_cleaner.safetensors"),
    steps: int = 6_000,
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
    with progress_bar("InputCleaner", steps) as bar:

        def report(step: int, _: Any, loss: Array) -> None:
            if step % 100 == 0 or step == steps:
                bar(step, f"loss {float(loss):.3f}")

        params = train(faces.images, steps, seed, report)
    save_tree(out, params)
    print(f"{out}  SHA-256 {file_sha256(out)}")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except InputError as error:
        print(f"input_cleaner: {error}", file=sys.stderr)
        sys.exit(2)
