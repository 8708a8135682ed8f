"""The figure of docs/how-it-works.md: one restoration by the shipped model, with everything that passes through it.

python -m tools.method_figure --out docs/method.png [--picture FILE --photos FILE ...] [--scale 16] [--seed 0]

Nothing in it is drawn by hand: every panel is an array that the model reads or writes. The photographs are those of
`make demo` if no others are given; use others of people who agree, or who are in the public domain.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from idfsr_jax.commands import demo
from idfsr_jax.diffusion.samplers import sampling_table
from idfsr_jax.diffusion.schedule import x0_from_v
from idfsr_jax.face import FaceCrop, resize_crop, write_image
from idfsr_jax.io.errors import InputError
from idfsr_jax.io.images import to_uint8
from idfsr_jax.method.condition import Condition
from idfsr_jax.method.denoiser import Denoiser
from idfsr_jax.method.landmarks import estimate_landmarks
from idfsr_jax.restore.conditions import cleaned_input, enlarged
from idfsr_jax.restore.identity import Identity
from idfsr_jax.restore.restorer import Restorer
from idfsr_jax.restore.result import Restoration
from tools.method_drawing import draw

Picture = UInt8[np.ndarray, "_ _ 3"]


@dataclass(frozen=True)
class Stages:
    """What passes through one restoration.

    Attributes:
      truth: the crop that was made small, at the model's side.
      photographs: canonical crops of those that the identity was fitted to.
      reference: which of them is the nearest reference.
      enlarged: y_up.
      landmarks: l_y, estimated from it and the person's shape, unit coordinates.
      condition: what the denoiser is given.
      noisy: x_t before every step, [steps, s, s, 3].
      levels: the log-SNR of each.
      identity: the fitted one.
      restoration: what came out.
    """

    truth: Picture
    photographs: list[FaceCrop]
    reference: int
    enlarged: Picture
    landmarks: Float[np.ndarray, "68 2"]
    condition: Condition
    noisy: Float[np.ndarray, "n s s 3"]
    levels: Float[np.ndarray, " n"]
    identity: Identity
    restoration: Restoration


def stages_of(
    restorer: Restorer, target: FaceCrop, photographs: Sequence[FaceCrop], scale: int = 16, seed: int = 0
) -> Stages:
    """Makes a photograph's face small, fits an identity to others of the person, and restores it.

    Args:
      restorer: of a model of pixels.
      target: the photograph, of which the model sees `size / scale` pixels.
      photographs: other ones of the person.
      scale: down-sampling factor.
      seed: of the noise.
    """
    truth = resize_crop(target.image, restorer.config.data.size)
    small = demo.shrink(truth, scale)
    person = restorer.fit(list(photographs))
    restoration = restorer.restore(small, person, list(photographs), scale=scale, seed=seed)
    size = restorer.config.data.size
    y_up, n = enlarged(cleaned_input(small, size)[0], size)
    net, shape = restorer.model.landmark_net, jnp.asarray(person.shape)[None]
    landmarks = estimate_landmarks(net, y_up, n, shape, jnp.ones(1), restorer.config.landmarks)
    levels, noisy = trajectory(restorer, restoration.condition, seed)
    chosen = next(i for i, crop in enumerate(photographs) if crop.image is restoration.reference)
    return Stages(
        truth=truth,
        photographs=list(photographs),
        reference=chosen,
        enlarged=to_uint8(y_up[0]),
        landmarks=np.asarray(landmarks[0]),
        condition=restoration.condition,
        noisy=noisy[:-1],
        levels=levels,
        identity=person,
        restoration=restoration,
    )


def trajectory(
    restorer: Restorer, condition: Condition, seed: int
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "m s s 3"]]:
    """The sampler's loop, step by step, for what `lax.scan` keeps to itself.

    Returns:
      The log-SNR of each step, and x_t before each, the result after the last at the end: one picture more.
    """
    config = restorer.config
    side = condition.hidden.shape[1]
    denoise, params = jax.jit(Denoiser(config.model, restorer.sizes).apply), {"params": restorer.model.denoiser}
    key = jax.random.fold_in(jax.random.key(seed), 0)  # of the first variant
    x = config.sample.temperature * jax.random.normal(key, condition.hidden.shape)
    before: Array = jnp.zeros_like(x)
    table = sampling_table(config.sample, config.diffusion, side)
    seen: list[Any] = [x]
    for level, on_x, on_x0, on_previous in table:
        levels = jnp.full(1, level)
        x0 = jnp.clip(x0_from_v(x, denoise(params, x, levels, condition), levels), -1.0, 1.0)
        x, before = on_x * x + on_x0 * x0 + on_previous * before, x0
        seen.append(x)
    return np.asarray(table[:, 0]), np.concatenate(seen)


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the figure; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    parser.add_argument("--picture", type=Path, help="photograph whose face is made small and restored")
    parser.add_argument("--photos", type=Path, nargs="+", default=[], help="other photographs of the person")
    parser.add_argument("--weights", type=Path, help="model folder; the shipped one if not given")
    parser.add_argument("--scale", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        if (options.picture is None) != (not options.photos):
            raise InputError("--picture and --photos belong together; give both, or neither.")
        picture, photos, credit = options.picture, options.photos, {}
        if picture is None:
            known = demo.demo_photographs(demo.cache_folder())
            picture, photos = known[demo.HELD_OUT], [known[name] for name in demo.FITTED]
            credit = {"Copyright": demo.CREDIT}
        faces = [demo.largest_face(path) for path in (picture, *photos)]
        stages = stages_of(Restorer.load(options.weights), faces[0], faces[1:], options.scale, options.seed)
        write_image(options.out, draw(stages), {**stages.restoration.metadata, **credit})
    except InputError as error:
        print(f"method_figure: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
