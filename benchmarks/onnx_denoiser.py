"""The denoiser on a CPU: onnxruntime's time for the exported network against JAX's for ours.

python -m benchmarks.onnx_denoiser [--weights FOLDER] [--batch 1] [--rounds 20] [--threads 2] [--out onnx.json]

Both have the same weights and inputs, float32, and take turns. JAX has as many threads as the process has cores (set
them by `taskset`), onnxruntime those of `--threads`.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.table import interleaved, milliseconds, publish
from idfsr_jax.export.denoiser import denoise, drawn_inputs, export_denoiser
from idfsr_jax.io.errors import InputError
from idfsr_jax.restore.restorer import Restorer
from idfsr_jax.runtime.compile_cache import use_compile_cache
from idfsr_jax.runtime.programs import compiler_options


def main() -> int:
    """Prints the table; returns 2 where the network cannot be exported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="model folder; the shipped one by default")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    use_compile_cache()
    try:
        restorer = Restorer.load(options.weights)
        model, sizes = restorer.model, restorer.sizes
        network = export_denoiser(model, sizes, options.batch)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    # Threads that spin while they wait would take JAX's turn from it.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(network, settings, providers=["CPUExecutionProvider"])
    inputs = drawn_inputs(model, sizes, options.batch)
    arrays = [jnp.asarray(each) for each in inputs.values()]
    compiled = jax.jit(partial(denoise, model, sizes), compiler_options=compiler_options())
    difference = float(np.abs(session.run(None, inputs)[0] - np.asarray(compiled(*arrays))).max())
    contestants = {
        "JAX": lambda: jax.block_until_ready(compiled(*arrays)),
        "onnxruntime": lambda: session.run(None, inputs),
    }
    seconds = interleaved(contestants, options.rounds)
    medians = {name: float(np.median(each)) for name, each in seconds.items()}
    least = {name: min(each) for name, each in seconds.items()}
    rows = [
        [name, milliseconds(each), f"{1e3 * least[name]:.1f}", f"{medians[name] / medians['JAX']:.2f}"]
        for name, each in seconds.items()
    ]
    facts = {"seconds": seconds, "difference": difference, "ratio": medians["onnxruntime"] / medians["JAX"]}
    header = ["", "ms a pass (half of the rounds)", "least", "times JAX"]
    title = f"Denoiser, {model.config.data.size} px, batch {options.batch}, largest difference {difference:.1e}"
    publish(title, header, rows, facts, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
