"""MobileFaceNet against the network that it was ported from, PyTorch, and XLA's grouped convolution.

`mobilefacenet_check.npz` holds an input of noise, as the network sees it after scaling, and the TensorFlow Lite model's
output of it.
"""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from idfsr_jax.face.chip import ARCFACE_CHIP
from idfsr_jax.interop.shipped_recognisers import read_shipped, shipped_file
from idfsr_jax.io.errors import BadConfig, BadWeights
from idfsr_jax.networks.id_encoder import load_id_encoder
from idfsr_jax.networks.mobilefacenet import BOTTLENECKS, MobileFaceNet, depthwise_convolution
from tools.mobilefacenet_ms1m import METADATA, convert, shipped


@pytest.fixture(scope="module")
def check():
    with np.load(Path(__file__).parent / "mobilefacenet_check.npz") as arrays:
        return arrays["input"].astype(np.float32) * 128 + 127.5, arrays["output"]


@pytest.fixture(scope="module")
def weights():
    return read_shipped("mobilefacenet")


@functools.cache
def values_and_gradient():
    """Descriptors of chips, and the gradient of their product with fixed numbers."""

    def product(chips, params, cotangent):
        descriptors = MobileFaceNet().apply({"params": params}, chips)
        return jnp.sum(descriptors * cotangent), descriptors

    return jax.jit(jax.grad(product, has_aux=True))


def torch_mobilefacenet(chips, weights):
    """The network in PyTorch's convolutions, channels first, padded as TensorFlow pads."""

    def convolution(x, layer, stride=1, groups=1):
        kernel = torch.from_numpy(layer["kernel"])
        # A dense layer's kernel is [in, out], a depthwise one's [h, w, c].
        kernel = {2: lambda k: k.T[:, :, None, None], 3: lambda k: k.permute(2, 0, 1)[:, None]}.get(
            kernel.ndim, lambda k: k.permute(3, 2, 0, 1)
        )(kernel)
        size, side = kernel.shape[-1], x.shape[-1]
        missing = 0 if size == 7 else max((-(-side // stride) - 1) * stride + size - side, 0)
        low, high = missing // 2, missing - missing // 2
        x = F.pad(x, (low, high, low, high))
        return F.conv2d(x, kernel.contiguous(), torch.from_numpy(layer["bias"]), stride, groups=groups)

    def active(x, layer):
        return F.prelu(x, torch.from_numpy(layer["slope"]))

    x = (chips.permute(0, 3, 1, 2) - 127.5) / 128
    x = active(convolution(x, weights["stem"], stride=2), weights["stem_activation"])
    x = active(convolution(x, weights["depthwise"], groups=64), weights["depthwise_activation"])
    x = convolution(x, weights["project"])
    for index, (inside, _, stride) in enumerate(BOTTLENECKS):
        block = weights[f"block_{index}"]
        y = active(convolution(x, block["expand"]), block["expand_activation"])
        y = active(convolution(y, block["depthwise"], stride, inside), block["depthwise_activation"])
        y = convolution(y, block["project"])
        x = x + y if stride == 1 else y
    x = active(convolution(x, weights["head"]), weights["head_activation"])
    return convolution(convolution(x, weights["pool"], groups=512), weights["embed"])[:, :, 0, 0]


def test_descriptor_is_the_original_networks(check, weights):
    chips, expected = check
    _, descriptors = values_and_gradient()(jnp.asarray(chips), weights, jnp.ones((1, 192)))
    descriptor = np.asarray(descriptors[0], np.float64)
    cosine = descriptor @ expected[0] / np.linalg.norm(descriptor) / np.linalg.norm(expected[0])
    assert cosine > 0.9999
    # What is left is the half floats'.
    np.testing.assert_allclose(descriptor, expected[0], atol=0.05)


def test_descriptor_and_gradient_equal_pytorchs(check, weights):
    chips, _ = check
    cotangent = np.random.default_rng(0).normal(size=(1, 192)).astype(np.float32)
    gradient, descriptors = values_and_gradient()(jnp.asarray(chips), weights, jnp.asarray(cotangent))
    theirs = torch.from_numpy(chips).requires_grad_()
    output = torch_mobilefacenet(theirs, weights)
    output.backward(torch.from_numpy(cotangent))
    np.testing.assert_allclose(descriptors, output.detach().numpy(), atol=1e-4)
    expected = theirs.grad.numpy()
    np.testing.assert_allclose(gradient, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("side", "size", "stride", "padding"),
    [
        (8, 3, 1, "SAME"),
        (8, 3, 2, "SAME"),
        (8, 3, 1, "BOTH"),
        (8, 3, 2, "BOTH"),
        (9, 3, 2, "SAME"),
        (8, 3, 1, "VALID"),
        (9, 3, 2, "VALID"),
        (7, 7, 1, "VALID"),
    ],
)
def test_depthwise_convolution_equals_a_grouped_one(side, size, stride, padding):
    rng = np.random.default_rng(0)
    x, kernel = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((2, side, side, 5), (size, size, 5)))

    def grouped(x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            kernel[:, :, None],
            (stride, stride),
            ((1, 1), (1, 1)) if padding == "BOTH" else padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=5,
        )

    ours, back = jax.vjp(lambda x, kernel: depthwise_convolution(x, kernel, stride, padding), x, kernel)
    theirs, their_back = jax.vjp(grouped, x, kernel)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    cotangent = jnp.asarray(rng.normal(size=theirs.shape), jnp.float32)
    for our_gradient, their_gradient in zip(back(cotangent), their_back(cotangent), strict=True):
        np.testing.assert_allclose(our_gradient, their_gradient, atol=2e-5)


def test_depthwise_convolution_by_a_damaged_kernel_is_not_a_number():
    result = depthwise_convolution(jnp.ones((1, 4, 4, 2)), jnp.full((3, 3, 2), jnp.nan))
    assert np.isnan(result).all()


def test_shipped_weights_fit_the_network(weights):
    shapes = jax.eval_shape(MobileFaceNet().init, jax.random.key(0), jnp.zeros((1, 112, 112, 3)))["params"]
    assert jax.tree.map(jnp.shape, weights) == jax.tree.map(jnp.shape, shapes)
    assert all(leaf.dtype == np.float32 and np.isfinite(leaf).all() for leaf in jax.tree.leaves(weights))


def test_encoder_is_had_by_name():
    encoder = load_id_encoder("mobilefacenet")
    assert (encoder.name, encoder.dimension) == ("mobilefacenet-ms1m-v1", 192)
    assert encoder.chip is ARCFACE_CHIP
    with pytest.raises(
        BadConfig, match="'mobilefacenet', 'mobilefacenet-relu6', 'mobileface', 'dlib' or 'arcface:PATH'"
    ):
        load_id_encoder("mobilenet")


def test_damaged_and_missing_files_are_refused(tmp_path):
    content = shipped_file("mobilefacenet").read_bytes()
    path = tmp_path / "weights.safetensors"
    with pytest.raises(BadWeights, match="cannot be read"):
        read_shipped("mobilefacenet", path)
    for wrong in (content[:-1], content[:-1] + bytes([content[-1] ^ 1]), b""):
        path.write_bytes(wrong)
        with pytest.raises(BadWeights, match="SHA-256"):
            read_shipped("mobilefacenet", path)


def test_the_shipped_file_is_what_the_tool_writes(weights):
    flat = {"/".join(key.key for key in path): leaf for path, leaf in jax.tree.leaves_with_path(weights)}
    assert shipped(flat, METADATA) == shipped_file("mobilefacenet").read_bytes()


def test_the_tool_refuses_another_file(tmp_path, capsys):
    (tmp_path / "other.tflite").write_bytes(b"TFL3")
    assert convert(tmp_path / "other.tflite", tmp_path / "out.safetensors") == 2
    assert "SHA-256" in capsys.readouterr().err
    assert not (tmp_path / "out.safetensors").exists()
