"""Networks that the user brings as ONNX files, run by onnxruntime: recognisers that judge, Inception for FID."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float

from idfsr_jax.errors import InputError

Run = Callable[[Float[np.ndarray, "b 3 h w"]], Float[np.ndarray, "b d"]]


def open_network(path: str | Path, side: int, kind: str) -> Run:
    """A function from pictures to one row of numbers each.

    Args:
      path: the ONNX file.
      side: of the square RGB pictures that it takes, [batch, 3, side, side].
      kind: what it should be, for complaints: "a face recogniser".

    Raises:
      InputError: the file is missing or not such a network, or onnxruntime is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such ONNX file; give the path of {kind}.")
    try:
        import onnxruntime
    except ImportError:
        raise InputError(f"{path}: needs onnxruntime; install it (`pip install onnxruntime`).") from None
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no common class for what it raises on a bad file
        raise InputError(f"{path}: onnxruntime cannot read it; give {kind} in ONNX.") from error
    entry = session.get_inputs()[0]
    # A free axis is a name or None; a fixed one must fit.
    sides = zip(entry.shape[1:], (3, side, side), strict=False)
    if len(entry.shape) != 4 or any(isinstance(given, int) and given != wanted for given, wanted in sides):
        raise InputError(f"{path}: takes {entry.shape}, not [batch, 3, {side}, {side}]; give {kind} that does.")

    def run(pictures: Float[np.ndarray, "b 3 h w"]) -> Float[np.ndarray, "b d"]:
        # One by one: many exported files have a fixed batch of one.
        inputs = (np.ascontiguousarray(picture[None], np.float32) for picture in pictures)
        rows = [session.run(None, {entry.name: each})[0].reshape(-1) for each in inputs]
        return np.stack(rows).astype(np.float32)

    return run
