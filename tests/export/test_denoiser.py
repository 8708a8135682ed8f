import sys

import jax
import numpy as np
import pytest

from idfsr_jax.export.denoiser import INPUTS, denoise, drawn_inputs, export_denoiser, input_shapes, largest_difference
from idfsr_jax.io.errors import InputError
from idfsr_jax.method.model import load_model

SIZES = (128, 192)


@pytest.fixture(scope="module")
def model(tiny_model):
    return load_model(tiny_model)


def test_onnxruntime_computes_what_flax_does(model):
    pytest.importorskip("jax2onnx", reason="makes the network")
    onnxruntime = pytest.importorskip("onnxruntime", reason="runs the network")
    network = export_denoiser(model, SIZES, 2)
    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    given = {each.name: tuple(each.shape) for each in session.get_inputs()}
    assert given == input_shapes(model, SIZES, 2) and tuple(given) == INPUTS
    inputs = drawn_inputs(model, SIZES, 2, seed=1)
    (theirs,) = session.run(None, inputs)
    ours = np.asarray(jax.jit(lambda *inputs: denoise(model, SIZES, *inputs))(*inputs.values()))
    np.testing.assert_allclose(theirs, ours, atol=1e-4)
    assert largest_difference(model, SIZES, network, 2) < 1e-4
    # An input that went to the wrong place would be seen.
    (moved,) = session.run(None, inputs | {"hidden": inputs["guess"], "guess": inputs["hidden"]})
    assert np.abs(moved - ours).max() > 1e-2


def test_without_jax2onnx_a_sentence_says_what_to_install(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(InputError, match="needs jax2onnx; install it"):
        export_denoiser(model, SIZES)
