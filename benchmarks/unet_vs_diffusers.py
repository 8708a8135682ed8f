"""The same UNet in JAX, of this package's blocks, and in PyTorch, by diffusers: forward, training step, sampling.

python -m benchmarks.unet_vs_diffusers [--size 128] [--rounds 10] [--onnx] [--out FILE]

The weights are diffusers' own, converted, and the outputs are compared first. Both are float32 and take turns; with
--onnx so does onnxruntime with our network, exported.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

from benchmarks.flax_unet2d import UNet2D, converted, diffusers_options
from benchmarks.table import interleaved, milliseconds, publish
from idfsr_jax.runtime.programs import compiler_options
from idfsr_jax.training.flops import flops_of

STEPS = 20


def main() -> int:
    """Prints the table; 1 if the outputs differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128, help="side of the pictures, px")
    parser.add_argument("--channels", type=int, nargs="+", default=[64, 128, 256], help="of each resolution")
    parser.add_argument("--layers", type=int, default=2, help="residual blocks of each resolution")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--compile", action="store_true", help="PyTorch's compiler for PyTorch's side")
    parser.add_argument("--onnx", action="store_true", help="also our network in onnxruntime, on the CPU")
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args()
    channels, layers, size = tuple(options.channels), options.layers, options.size
    rng = np.random.default_rng(0)
    x = rng.normal(size=(options.batch, size, size, 3)).astype(np.float32)
    target = rng.normal(size=x.shape).astype(np.float32)
    steps = np.linspace(900, 1, STEPS).astype(np.float32)
    alphas = np.cos(steps / 1000 * np.pi / 2).astype(np.float32) ** 2

    device = "cuda" if torch.cuda.is_available() and jax.default_backend() == "gpu" else "cpu"
    torch.manual_seed(0)
    module = diffusers.UNet2DModel(**diffusers_options(channels, layers, size)).to(device)
    theirs = torch.compile(module) if options.compile else module
    picture, goal = (torch.tensor(each.transpose(0, 3, 1, 2).copy(), device=device) for each in (x, target))
    time = torch.full((options.batch,), 500.0, device=device)

    network = UNet2D(channels, layers)
    clock = jnp.full((options.batch,), 500.0)
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.asarray(x), clock)["params"]
    state = {name: value.detach().cpu().numpy() for name, value in module.state_dict().items()}
    params = converted(state, shapes)

    compiled = partial(jax.jit, compiler_options=compiler_options())  # as all of ours
    forward = compiled(lambda params, x, time: network.apply({"params": params}, x, time))
    with torch.inference_mode():
        expected = theirs(picture, time).sample.cpu().numpy().transpose(0, 2, 3, 1)
    difference = float(np.abs(np.asarray(forward(params, jnp.asarray(x), clock)) - expected).max())

    def loss(params: optax.Params, x: jax.Array, target: jax.Array) -> jax.Array:
        return jnp.mean((network.apply({"params": params}, x, clock) - target) ** 2)  # type: ignore[operator]

    optimizer = optax.adamw(1e-4)

    @compiled
    def step(params: optax.Params, opt_state: optax.OptState, x: jax.Array, target: jax.Array) -> tuple:
        updates, opt_state = optimizer.update(jax.grad(loss)(params, x, target), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    @compiled
    def sample(params: optax.Params, x: jax.Array) -> jax.Array:
        def one(x: jax.Array, at: tuple) -> tuple:
            timestep, alpha, previous = at
            eps = network.apply({"params": params}, x, jnp.broadcast_to(timestep, x.shape[:1]))
            clean = (x - jnp.sqrt(1 - alpha) * eps) / jnp.sqrt(alpha)
            return jnp.sqrt(previous) * clean + jnp.sqrt(1 - previous) * eps, None

        return jax.lax.scan(one, x, (jnp.asarray(steps), jnp.asarray(alphas), jnp.asarray([*alphas[1:], 1.0])))[0]

    torch_optimizer = torch.optim.AdamW(module.parameters(), 1e-4)

    def finished(tensor: torch.Tensor) -> torch.Tensor:
        if device == "cuda":
            torch.cuda.synchronize()
        return tensor

    def torch_forward() -> torch.Tensor:
        with torch.inference_mode():
            return finished(theirs(picture, time).sample)

    def torch_step() -> torch.Tensor:
        torch_optimizer.zero_grad(set_to_none=True)
        error = torch.mean((theirs(picture, time).sample - goal) ** 2)
        error.backward()
        torch_optimizer.step()
        return finished(error)

    def torch_sample() -> torch.Tensor:
        x = picture
        with torch.inference_mode():
            for timestep, alpha, previous in zip(steps, alphas, [*alphas[1:], 1.0], strict=True):
                eps = theirs(x, torch.full_like(time, float(timestep))).sample
                clean = (x - float(1 - alpha) ** 0.5 * eps) / float(alpha) ** 0.5
                x = float(previous) ** 0.5 * clean + float(1 - previous) ** 0.5 * eps
        return finished(x)

    ours_x, ours_target, opt_state = jnp.asarray(x), jnp.asarray(target), optimizer.init(params)
    sampling = f"{STEPS} sampling steps"
    work: dict[str, dict[str, Callable[[], object]]] = {
        "forward": {
            "ours": lambda: jax.block_until_ready(forward(params, ours_x, clock)),
            "diffusers": torch_forward,
        },
        "training step": {
            "ours": lambda: jax.block_until_ready(step(params, opt_state, ours_x, ours_target)),
            "diffusers": torch_step,
        },
        sampling: {"ours": lambda: jax.block_until_ready(sample(params, ours_x)), "diffusers": torch_sample},
    }
    if options.onnx:
        run = onnx_session(lambda x, time: network.apply({"params": params}, x, time), x.shape)

        def onnx_sample() -> np.ndarray:
            now = x
            for timestep, alpha, previous in zip(steps, alphas, [*alphas[1:], np.float32(1.0)], strict=True):
                eps = run(now, np.full(len(now), timestep, np.float32))
                clean = (now - np.sqrt(1 - alpha) * eps) / np.sqrt(alpha)
                now = np.sqrt(previous) * clean + np.sqrt(1 - previous) * eps
            return now

        difference = max(difference, float(np.abs(run(x, np.asarray(clock)) - expected).max()))
        work["forward"]["onnxruntime"] = lambda: run(x, np.asarray(clock))
        work[sampling]["onnxruntime"] = onnx_sample
    flops = flops_of(lambda params, x: network.apply({"params": params}, x, clock), params, ours_x)
    rows, facts = [], []
    for name, contestants in work.items():
        rounds = max(3, options.rounds // 4) if "sampling" in name else options.rounds
        seconds = interleaved(contestants, rounds)
        medians = {who: float(np.median(each)) for who, each in seconds.items()}
        for who in contestants:
            ratio = medians[who] / medians["diffusers"]
            rows.append([name, who, milliseconds(seconds[who]), f"{ratio:.2f}"])
            facts.append({"what": name, "by": who, "seconds": medians[who], "ratio": ratio})
    count = sum(value.size for value in jax.tree.leaves(params))
    title = (
        f"UNet2DModel {channels}, {layers} layers, {size} px, batch {options.batch}: {count / 1e6:.1f} M parameters, "
        f"{flops / 1e9:.1f} GFLOP; largest difference of the outputs {difference:.1e}"
    )
    publish(title, ["", "by", "ms", "times diffusers"], rows, {"rows": facts, "gflop": flops / 1e9}, options.out)
    return int(difference > 1e-3)


def onnx_session(
    network: Callable[[jax.Array, jax.Array], jax.Array], shape: tuple[int, ...]
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A network of (x, time) as onnxruntime computes it, on as many threads as PyTorch has."""
    import jax2onnx
    import onnxruntime

    shapes: Any = [shape, shape[:1]]
    exported: Any = jax2onnx.to_onnx(network, shapes, model_name="unet", input_names=["x", "time"])
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    # Threads that spin while they wait would take the others' turn from them.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(exported.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    return lambda x, time: session.run(None, {"x": x, "time": time})[0]


if __name__ == "__main__":
    sys.exit(main())
