import jax.numpy as jnp
import numpy as np
import onnx
import pytest

from idfsr_jax.evaluation.methods import Method
from idfsr_jax.evaluation.parts import Unit
from idfsr_jax.evaluation.perceptual import vgg_features
from idfsr_jax.evaluation.sets import distances_of_sets, inception
from idfsr_jax.io.errors import InputError
from idfsr_jax.io.images import to_float


def write_inception(path, side=299):
    """An ONNX file of a network whose features are the mean colour."""
    node, tensor = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node("GlobalAveragePool", ["pictures"], ["mean"]), node("Flatten", ["mean"], ["features"])],
        "mean",
        [tensor("pictures", onnx.TensorProto.FLOAT, [1, 3, side, side])],
        [tensor("features", onnx.TensorProto.FLOAT, None)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return str(path)


def test_inception_sees_the_picture_enlarged_and_scaled(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    features = inception(write_inception(tmp_path / "inception.onnx"))(images)
    np.testing.assert_allclose(features, images.mean((1, 2)) / 127.5 - 1, atol=0.01)


def test_what_is_no_inception_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such ONNX file; give the path of an Inception network"):
        inception(str(tmp_path / "nowhere.onnx"))
    with pytest.raises(InputError, match="not \\[batch, 3, 299, 299\\]"):
        inception(write_inception(tmp_path / "small.onnx", 128))


def test_distances_grow_with_the_difference_and_the_truth_has_none(study, tmp_path):
    photos = [photo for person in study.protocol.people for photo in person.restored]
    truth = study.images[study.records(photos)]
    units = {}
    for name, change in (("same", 0), ("darker", 40), ("darkest", 80)):
        images = np.clip(truth.astype(int) - change, 0, 255).astype(np.uint8)
        features = np.asarray(vgg_features(jnp.asarray(to_float(images))))
        units[Unit(Method(name), 8, "area")] = {"images": images, "features": features}
    seen = inception(write_inception(tmp_path / "inception.onnx"))
    same, darker, darkest = distances_of_sets(units, study, 2, seen)
    assert (same["method"], same["scale"], same["degradation"]) == ("same", 8, "area")
    assert same["fid"] == pytest.approx(0.0, abs=1e-5)
    # The mean colours move; their spread between photographs hardly changes.
    images = units[Unit(Method("darker"), 8, "area")]["images"]
    moved = (images.mean((0, 1, 2)) - truth.mean((0, 1, 2))) / 127.5
    assert darker["fid"] == pytest.approx(np.sum(moved**2), rel=0.1)
    assert darkest["fid"] > 2 * darker["fid"] and darkest["kid"] > darker["kid"] > same["kid"]
    assert "fid" not in distances_of_sets(units, study, 2, None)[0]
