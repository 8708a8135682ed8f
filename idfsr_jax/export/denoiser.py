"""The denoiser as ONNX, for those without JAX."""

import contextlib
import dataclasses
import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from idfsr_jax.io.errors import InputError
from idfsr_jax.method.condition import Condition
from idfsr_jax.method.denoiser import Denoiser, empty_condition
from idfsr_jax.method.model import Model

_UNREAD = ("start", "landmarks")  # by the network: guidance reads them
INPUTS = ("x_t", "log_snr", *(field.name for field in dataclasses.fields(Condition) if field.name not in _UNREAD))
"""Of the network, in this order: what is noised, its noise level, and the fields of `Condition` that it reads."""
TOLERANCE = 1e-4
"""Largest difference from Flax that is let pass; v is about 1."""


def input_shapes(model: Model, sizes: tuple[int, ...], batch: int) -> dict[str, tuple[int, ...]]:
    """The shape of each input, channels last; all are float32.

    Args:
      model: of `load_model`.
      sizes: length of each recogniser's part of the identity.
      batch: faces at once.
    """
    size, config = model.config.data.size, model.config.model
    condition = empty_condition(batch, size, config.references, config, sizes)
    shapes = [(batch, size, size, 3), (batch,), *(getattr(condition, name).shape for name in INPUTS[2:])]
    return dict(zip(INPUTS, shapes, strict=True))


def denoise(
    model: Model,
    sizes: tuple[int, ...],
    x_t: Float[Array, "b s s 3"],
    log_snr: Float[Array, " b"],
    *condition: Float[Array, "b ..."],
) -> Float[Array, "b s s 3"]:
    """v; the fields of `Condition` in the order of `INPUTS`."""
    network = Denoiser(model.config.model, sizes)
    fields = dict(zip(INPUTS[2:], condition, strict=True))
    whole = Condition(**fields, start=fields["identity"], landmarks=jnp.zeros((len(x_t), 68, 2)))
    return network.apply({"params": model.denoiser}, x_t, log_snr, whole)  # type: ignore[return-value]


def export_denoiser(model: Model, sizes: tuple[int, ...], batch: int = 1) -> bytes:
    """The denoiser with its weights as an ONNX file.

    Args:
      model: of `load_model`.
      sizes: length of each recogniser's part of the identity.
      batch: faces at once; fixed, as a free one makes the file a third slower to convert and twice as many nodes.

    Raises:
      InputError: jax2onnx is not installed.
    """
    try:
        import jax2onnx
    except ImportError:
        raise InputError("--formats onnx needs jax2onnx; install it (`pip install jax2onnx onnxruntime`).") from None
    shapes: Any = list(input_shapes(model, sizes, batch).values())

    def network(*inputs: Array) -> Array:
        return denoise(model, sizes, *inputs)

    with _quiet("onnx_ir.serde"):
        proto: Any = jax2onnx.to_onnx(network, shapes, model_name="denoiser", input_names=INPUTS, output_names=["v"])
        return proto.SerializeToString()


def drawn_inputs(
    model: Model, sizes: tuple[int, ...], batch: int = 1, seed: int = 0
) -> dict[str, Float32[np.ndarray, "..."]]:
    """Random inputs as they occur, to compare networks with."""
    rng, shapes = np.random.default_rng(seed), input_shapes(model, sizes, batch)
    drawn = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    for name in ("mask", "pose", "valid"):
        drawn[name] = rng.uniform(size=shapes[name]).astype(np.float32)
    for name in ("identity", "reference_identities"):
        drawn[name] /= np.linalg.norm(drawn[name], axis=-1, keepdims=True)
    drawn["identity_present"] = np.ones(batch, np.float32)
    drawn["scale"] = rng.uniform(2, 32, size=batch).astype(np.float32)
    return drawn


def largest_difference(model: Model, sizes: tuple[int, ...], network: bytes, batch: int = 1) -> float | None:
    """How far the ONNX file is from Flax on random inputs; None where onnxruntime is not installed."""
    try:
        import onnxruntime
    except ImportError:
        return None
    inputs = drawn_inputs(model, sizes, batch)
    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    (ours,) = session.run(None, inputs)
    flax = jax.jit(partial(denoise, model, sizes))(*inputs.values())
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
