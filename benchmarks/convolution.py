"""One 3 x 3 convolution on a CPU in several ways: what the denoiser spends most of its time on.

    python -m benchmarks.convolution [--out FILE]

XLA's own with channels last and first, the sum of nine shifted matrix products, one product of gathered patches, and
PyTorch's (oneDNN) with channels last. All float32 and equal to 1e-4; all take turns. `XLA_FLAGS` apply to all of JAX's.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import tyro
from jaxtyping import Array, Float

from benchmarks.table import interleaved, milliseconds, publish
from idfsr_jax.runtime.programs import compiler_options


@dataclass(frozen=True)
class Options:
    """What is convolved."""

    shapes: tuple[tuple[int, int], ...] = ((32, 64), (16, 128), (8, 192), (64, 128))
    """(side, channels) of the pictures; those of the shipped network, and the first of the 128 px one."""
    rounds: int = 30
    """That count."""
    out: Path | None = None
    """Also write the table as JSON."""


def channels_last(x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c d"]) -> Float[Array, "b h w d"]:
    """As Flax does it."""
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def channels_first(x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c d"]) -> Float[Array, "b h w d"]:
    """With the pictures laid out as PyTorch has them by default; both turns are counted."""
    y = jax.lax.conv_general_dilated(
        x.transpose(0, 3, 1, 2), kernel, (1, 1), "SAME", dimension_numbers=("NCHW", "HWIO", "NCHW")
    )
    return y.transpose(0, 2, 3, 1)


def shifted_products(x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c d"]) -> Float[Array, "b h w d"]:
    """Nine matrix products of shifted pictures, summed."""
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = lambda i, j: padded[:, i : i + height, j : j + width]  # noqa: E731
    return sum(shifted(i, j) @ kernel[i, j] for i in range(3) for j in range(3))  # type: ignore[return-value]


def gathered_patches(x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c d"]) -> Float[Array, "b h w d"]:
    """One matrix product of all 3 x 3 patches, nine times the memory."""
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    patches = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return jnp.concatenate(patches, -1) @ kernel.reshape(-1, kernel.shape[-1])


def main() -> int:
    """Prints the table; 1 if the ways differ."""
    options = tyro.cli(Options, description=__doc__)
    rng = np.random.default_rng(0)
    rows, facts = [], []
    for side, channels in options.shapes:
        x = rng.normal(size=(1, side, side, channels)).astype(np.float32)
        kernel = (rng.normal(size=(3, 3, channels, channels)) / (3 * channels**0.5)).astype(np.float32)
        ways: dict[str, Callable[[], Any]] = {
            way.__name__.replace("_", " "): _compiled(way, jnp.asarray(x), jnp.asarray(kernel))
            for way in (channels_last, channels_first, shifted_products, gathered_patches)
        }
        ways["PyTorch"] = _torch(x, kernel)
        results = {name: np.asarray(work()) for name, work in ways.items()}
        if max(np.abs(each - results["PyTorch"]).max() for each in results.values()) > 1e-4:
            print("the ways differ", file=sys.stderr)
            return 1
        seconds = interleaved(ways, options.rounds)
        theirs = float(np.median(seconds["PyTorch"]))
        for name, each in seconds.items():
            ratio = float(np.median(each)) / theirs
            rows.append([f"{side} x {side} x {channels}", name, milliseconds(each), f"{ratio:.2f}"])
            facts.append({"side": side, "channels": channels, "way": name, "ratio": ratio})
    publish("A 3 x 3 convolution", ["pictures", "way", "ms", "of PyTorch's time"], rows, facts, options.out)
    return 0


def _compiled(way: Callable[..., Array], x: Array, kernel: Array) -> Callable[[], Array]:
    function = jax.jit(way, compiler_options=compiler_options())
    return lambda: jax.block_until_ready(function(x, kernel))


def _torch(x: np.ndarray, kernel: np.ndarray) -> Callable[[], np.ndarray]:
    picture = torch.tensor(x.transpose(0, 3, 1, 2)).to(memory_format=torch.channels_last)
    weight = torch.tensor(kernel.transpose(3, 2, 0, 1)).to(memory_format=torch.channels_last)

    def work() -> np.ndarray:
        with torch.inference_mode():
            return torch.nn.functional.conv2d(picture, weight, padding=1).permute(0, 2, 3, 1).numpy()

    return work


if __name__ == "__main__":
    sys.exit(main())
