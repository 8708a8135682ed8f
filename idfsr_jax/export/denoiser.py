"""The denoiser as ONNX, for those without JAX."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Float32

from idfsr_jax.errors import InputError
from idfsr_jax.models.condition import Condition
from idfsr_jax.models.denoiser import denoiser_of
from idfsr_jax.weights import Model

INPUTS = ("x_t", "log_snr", "hidden", "mask", "reference", "valid", "identity", "identity_present", "scale")
"""Of the network, in this order: what is noised, its noise level, and the fields of `Condition`."""
TOLERANCE = 1e-4
"""Largest difference from Flax that is let pass; v is about 1."""


def input_shapes(model: Model, batch: int) -> dict[str, tuple[int, ...]]:
    """The shape of each input, channels last; all are float32."""
    size = model.config.data.size
    picture, plane = (batch, size, size, 3), (batch, size, size, 1)
    identity = (batch, model.config.model.identity_dim)
    shapes = [picture, (batch,), picture, plane, picture, plane, identity, (batch,), (batch,)]
    return dict(zip(INPUTS, shapes, strict=True))


def denoise(
    model: Model, x_t: Float[Array, "b s s 3"], log_snr: Float[Array, " b"], *condition: Float[Array, "b ..."]
) -> Float[Array, "b s s 3"]:
    """v, in float32 whatever the model was trained in; the fields of `Condition` in the order of `INPUTS`."""
    config = replace(model.config, model=replace(model.config.model, dtype="float32"))
    network = denoiser_of(config)
    return network.apply({"params": model.denoiser}, x_t, log_snr, Condition(*condition))  # type: ignore[return-value]


def export_denoiser(model: Model, batch: int = 1) -> bytes:
    """The denoiser with its weights as an ONNX file.

    Args:
      model: of `load_model`.
      batch: faces at once; fixed, as a free one makes the file a third slower to convert and twice as many nodes.

    Raises:
      InputError: jax2onnx is not installed.
    """
    try:
        import jax2onnx
    except ImportError:
        raise InputError("--formats onnx needs jax2onnx; install it (`pip install jax2onnx onnxruntime`).") from None
    shapes: Any = list(input_shapes(model, batch).values())

    def network(*inputs: Array) -> Array:
        return denoise(model, *inputs)

    with _quiet("onnx_ir.serde"):
        proto: Any = jax2onnx.to_onnx(network, shapes, model_name="denoiser", input_names=INPUTS, output_names=["v"])
        return proto.SerializeToString()


def drawn_inputs(model: Model, batch: int = 1, seed: int = 0) -> dict[str, Float32[np.ndarray, "..."]]:
    """Random inputs as they occur, to compare networks with."""
    rng = np.random.default_rng(seed)
    drawn = {name: rng.normal(size=shape).astype(np.float32) for name, shape in input_shapes(model, batch).items()}
    for name in ("mask", "valid"):
        drawn[name] = rng.uniform(size=drawn[name].shape).astype(np.float32)
    drawn["identity"] /= np.linalg.norm(drawn["identity"], axis=-1, keepdims=True)
    drawn["identity_present"] = np.ones(batch, np.float32)
    drawn["scale"] = np.full(batch, model.config.data.scales[-1], np.float32)
    return drawn


def largest_difference(model: Model, network: bytes, batch: int = 1) -> float | None:
    """How far the ONNX file is from Flax on random inputs; None where onnxruntime is not installed."""
    try:
        import onnxruntime
    except ImportError:
        return None
    inputs = drawn_inputs(model, batch)
    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    (ours,) = session.run(None, inputs)
    flax = jax.jit(lambda *inputs: denoise(model, *inputs))(*inputs.values())
    return float(np.abs(ours - np.asarray(flax)).max())


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Without a library's warnings about what is none of the user's business."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
