"""The two recognisers that guide beside MobileFaceNet, against PyTorch and, the first, the ONNX graph it is made of.

`mobilefacenet_relu6_check.npz` holds what onnxruntime made of that graph, of an input that follows from a seed. MXNet,
which wrote the second, runs on no Python of today.
"""

import struct
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from idfsr_jax.face.chip import ARCFACE_CHIP
from idfsr_jax.interop.shipped_recognisers import SHA256, read_shipped, shipped_file
from idfsr_jax.io.errors import InputError
from idfsr_jax.networks.id_encoder import chip_descriptors, load_id_encoder
from idfsr_jax.networks.recognisers import photograph_descriptors
from tools.mobileface import METADATA, NETWORKS, convert, mxnet_arrays
from tools.mobilefacenet_ms1m import shipped

NAMES = list(NETWORKS)


def chips():
    return np.random.default_rng(0).integers(0, 256, (1, 112, 112, 3)).astype(np.float32)


def by_torch(network, weights, x):
    """The network in PyTorch's convolutions, channels first."""

    def convolution(x, layer, stride=1, padding=0):
        kernel = torch.from_numpy(layer["kernel"])
        groups = 1
        if kernel.ndim == 2:
            kernel = kernel.T[:, :, None, None]
        elif kernel.ndim == 3:
            groups, kernel = kernel.shape[2], kernel.permute(2, 0, 1)[:, None]
        else:
            kernel = kernel.permute(3, 2, 0, 1)
        return F.conv2d(x, kernel.contiguous(), torch.from_numpy(layer["bias"]), stride, padding, groups=groups)

    x = ((x - torch.tensor(network.mean)) / torch.tensor(network.deviation)).permute(0, 3, 1, 2)
    x = F.relu6(convolution(x, weights["stem"], 2, 1))
    if network.head:
        x = F.relu(convolution(F.relu(convolution(x, weights["depthwise"], 1, 1)), weights["project"]))
    for index, (_, _, stride) in enumerate(network.blocks):
        block = weights[f"block_{index}"]
        y = F.relu6(convolution(F.relu6(convolution(x, block["expand"])), block["depthwise"], stride, 1))
        y = convolution(y, block["project"])
        x = x + y if stride == 1 else y
    if network.head:
        x = convolution(F.relu6(convolution(x, weights["head"])), weights["pool"])
    x = x.permute(0, 2, 3, 1).flatten(1)
    return x @ torch.from_numpy(weights["embed"]["kernel"]) + torch.from_numpy(weights["embed"]["bias"])


@pytest.mark.parametrize("name", NAMES)
def test_descriptor_and_gradient_equal_pytorchs(name):
    network, weights = NETWORKS[name], read_shipped(name)
    cotangent = np.random.default_rng(1).normal(size=(1, network.dimension)).astype(np.float32)

    def product(x):
        descriptors = network.apply({"params": jax.tree.map(jnp.asarray, weights)}, x)
        return jnp.sum(descriptors * cotangent), descriptors

    gradient, descriptors = jax.jit(jax.grad(product, has_aux=True))(jnp.asarray(chips()))
    theirs = torch.from_numpy(chips()).requires_grad_()
    output = by_torch(network, weights, theirs)
    output.backward(torch.from_numpy(cotangent))
    expected = output.detach().numpy()
    np.testing.assert_allclose(descriptors, expected, atol=1e-4 * np.abs(expected).max())
    expected = theirs.grad.numpy()
    np.testing.assert_allclose(gradient, expected, atol=1e-3 * np.abs(expected).max())


def test_descriptor_is_that_of_the_graph_it_is_made_of():
    with np.load(Path(__file__).parent / "mobilefacenet_relu6_check.npz") as arrays:
        expected = arrays["output"].astype(np.float64)
    found = np.asarray(chip_descriptors(load_id_encoder("mobilefacenet-relu6"), jnp.asarray(chips())))
    cosine = found[0] @ expected / np.linalg.norm(found) / np.linalg.norm(expected)
    assert cosine > 0.9999  # What is left is the half floats'.


@pytest.mark.parametrize("name", NAMES)
def test_shipped_weights_fit_the_network_and_are_what_the_tool_writes(name):
    weights, network = read_shipped(name), NETWORKS[name]
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 112, 112, 3)))["params"]
    assert jax.tree.map(jnp.shape, weights) == jax.tree.map(jnp.shape, shapes)
    flat = {"/".join(key.key for key in path): leaf for path, leaf in jax.tree.leaves_with_path(weights)}
    assert shipped(flat, METADATA[name]) == shipped_file(name).read_bytes()


@pytest.mark.parametrize(("name", "called"), [(NAMES[0], "mobilefacenet-relu6-v1"), (NAMES[1], "mobileface-v2")])
def test_encoder_is_had_by_name_and_mirrors_photographs(name, called):
    encoder = load_id_encoder(name)
    assert (encoder.name, encoder.dimension, encoder.chip) == (called, NETWORKS[name].dimension, ARCFACE_CHIP)
    found = photograph_descriptors(encoder, jnp.asarray(chips()))
    np.testing.assert_allclose(found, photograph_descriptors(encoder, jnp.asarray(chips()[:, :, ::-1])), atol=1e-3)


def test_one_person_is_told_from_another(face_crop):
    """The astronaut, darker and softer, is more like herself than like noise."""
    from idfsr_jax.face.chip import cut_chip

    chip = cut_chip(face_crop.image, face_crop.landmarks, ARCFACE_CHIP).astype(np.float32)
    noise = chips()[0]
    for name in NAMES:
        a, b, c = (
            np.asarray(photograph_descriptors(load_id_encoder(name), jnp.asarray(x[None])))[0]
            for x in (chip, 0.7 * chip, noise)
        )
        cosine = [float(a @ other / np.linalg.norm(a) / np.linalg.norm(other)) for other in (b, c)]
        assert cosine[0] > 0.8 and cosine[1] < cosine[0] - 0.2


def test_mxnets_arrays_are_read(tmp_path):
    values = np.arange(6, dtype="<f4").reshape(2, 3)
    array = struct.pack("<IiI2qiii", 0xF993FAC9, 0, 2, 2, 3, 1, 0, 0) + values.tobytes()
    content = struct.pack("<3Q", 0x112, 0, 1) + array + struct.pack("<2Q", 1, 5) + b"arg:a"
    (found,) = mxnet_arrays(content).items()
    assert found[0] == "arg:a"
    np.testing.assert_array_equal(found[1], values)
    with pytest.raises(InputError, match="no file of MXNet's"):
        mxnet_arrays(b"\0" * 64)


@pytest.mark.parametrize("name", NAMES)
def test_the_tool_refuses_another_file(name, tmp_path, capsys):
    (tmp_path / "other").write_bytes(b"other")
    assert convert(name, tmp_path / "other", tmp_path / "out.safetensors") == 2
    assert "SHA-256" in capsys.readouterr().err
    assert not (tmp_path / "out.safetensors").exists()
    assert set(SHA256) == {"mobilefacenet", *NAMES}
