"""IResNets from ONNX files against onnxruntime on the same files: within 1e-5 of the largest number of an embedding."""

import io
import warnings

import jax
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper

from idfsr_jax.interop.arcface_weights import arcface_name, read_arcface
from idfsr_jax.io.errors import BadWeights
from idfsr_jax.networks.id_encoder import chip_descriptors, load_id_encoder

UNFOLDED = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
UNITS, WIDTHS = (2, 1, 3, 1), (8, 12, 16, 24)


class MxNet(torch.nn.Module):
    """A network that normalises pixels itself, as those do that were converted from MXNet."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, pixels):
        return self.network((pixels - 127.0) * 0.0078125)


def exported(network, **options) -> onnx.ModelProto:
    file, shape = io.BytesIO(), torch.zeros(1, 3, 112, 112)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # insightface's files come from this exporter, old as it is
        torch.onnx.export(
            network, (shape,), file, dynamo=False, input_names=["data"], dynamic_axes={"data": {0: "batch"}}, **options
        )
    return onnx.load_model_from_string(file.getvalue())


@pytest.fixture(scope="module")
def models(torch_iresnet):
    """The same network in the forms that are in circulation."""
    network = torch_iresnet()
    return {"folded": exported(network), "unfolded": exported(network, **UNFOLDED), "mxnet": exported(MxNet(network))}


def with_matmul(model: onnx.ModelProto) -> onnx.ModelProto:
    """The last layer as a product and a sum, flattened by a reshape, as other tools write it."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    nodes, weights = model.graph.node, {each.name: each for each in model.graph.initializer}
    (gemm,), (flatten,) = ([n for n in nodes if n.op_type == kind] for kind in ("Gemm", "Flatten"))
    weight = numpy_helper.to_array(weights[gemm.input[1]]).T
    model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(weight), "transposed"))
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1, weight.shape[0]]), "shape"))
    product = helper.make_node("MatMul", [gemm.input[0], "transposed"], ["product"])
    total = helper.make_node("Add", [gemm.input[2], "product"], [gemm.output[0]])
    reshape = helper.make_node("Reshape", [flatten.input[0], "shape"], [flatten.output[0]])
    swapped = {"Gemm": [product, total], "Flatten": [reshape]}
    rest = [each for node in nodes for each in swapped.get(node.op_type, [node])]
    del model.graph.node[:]
    model.graph.node.extend(rest)
    return model


@pytest.mark.parametrize("form", ["folded", "unfolded", "mxnet", "matmul"])
def test_equals_onnxruntime_on_the_same_file(form, models, chips, tmp_path):
    model = with_matmul(models["folded"]) if form == "matmul" else models[form]
    path = tmp_path / f"{form}.onnx"
    path.write_bytes(model.SerializeToString())
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    pixels = chips if form == "mxnet" else (chips - 127.5) / 127.5
    expected = session.run(None, {"data": pixels.transpose(0, 3, 1, 2)})[0]
    encoder = load_id_encoder(f"arcface:{path}")
    ours = np.asarray(jax.jit(chip_descriptors)(encoder, chips))
    assert encoder.network.blocks == tuple(
        (width, 2 if place == 0 else 1) for count, width in zip(UNITS, WIDTHS) for place in range(count)
    )
    assert (encoder.dimension, encoder.name) == (32, arcface_name(path))
    np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(expected).max(), rtol=0)
    assert np.abs(expected - expected[:1])[1:].max() > 0.1 * np.abs(expected).max()  # the pictures do differ


def test_an_onnx_file_holds_what_was_exported(models, torch_iresnet):
    """Both forms and the state dict give the same tree, up to where batch norms were folded in float32."""
    trees = []
    for form in ("folded", "unfolded"):
        from idfsr_jax.interop.arcface_onnx import parse_onnx

        trees.append(parse_onnx(models[form].SerializeToString(), form).params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6, rtol=1e-5), *trees)


def damaged(model: onnx.ModelProto, how: str) -> bytes:
    model = onnx.ModelProto.FromString(model.SerializeToString())
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    if how == "no relu":
        next(node for node in model.graph.node if node.op_type == "PRelu").op_type = "Relu"
    elif how == "dilated":
        next(a for a in convolutions[1].attribute if a.name == "dilations").ints[:] = [2, 2]
    elif how == "another side":
        next(a for a in convolutions[2].attribute if a.name == "strides").ints[:] = [1, 1]
        next(a for a in convolutions[3].attribute if a.name == "strides").ints[:] = [1, 1]
    elif how == "two outputs":
        model.graph.output.append(model.graph.output[0])
    elif how == "external":
        model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    elif how == "no weights":
        del model.graph.initializer[:]
    return b"\x00nonsense" if how == "nonsense" else model.SerializeToString()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("no relu", "PRelu"),
        ("dilated", "3x3 convolution"),
        ("another side", "24 x 14 x 14 features"),
        ("two outputs", "single output"),
        ("external", "another file"),
        ("no weights", "lacks"),
        ("nonsense", "no ONNX file"),
    ],
)
def test_other_networks_are_refused_in_one_sentence(how, said, models, tmp_path):
    path = tmp_path / "other.onnx"
    path.write_bytes(damaged(models["folded"], how))
    with pytest.raises(BadWeights) as caught:
        load_id_encoder(f"arcface:{path}")
    assert said in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_no_recogniser_is_named(tmp_path, monkeypatch):
    with pytest.raises(BadWeights, match=r"nowhere\.onnx: cannot be read"):
        read_arcface(tmp_path / "nowhere.onnx")
    with pytest.raises(BadWeights, match=r"`idfsr convert --weights backbone\.pth --out DIR`"):
        read_arcface(tmp_path / "backbone.pth")
    with pytest.raises(BadWeights, match=r"\.onnx or \.safetensors"):
        read_arcface(tmp_path / "backbone.bin")
    (tmp_path / "any.onnx").touch()
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(BadWeights, match="needs the package onnx"):
        read_arcface(tmp_path / "any.onnx")
