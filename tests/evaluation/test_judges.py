import sys

import jax.numpy as jnp
import numpy as np
import onnx
import pytest

from idfsr_jax.evaluation.judges import ARCFACE_TEMPLATE, arcface_chips, load_judges, onnx_judge
from idfsr_jax.face import resize_crop
from idfsr_jax.io.errors import InputError
from idfsr_jax.io.images import to_float
from idfsr_jax.networks.id_encoder import descriptors_of


def coordinates(side: int) -> np.ndarray:
    """A picture whose first two channels are x and y in unit coordinates."""
    centres = (np.arange(side, dtype=np.float32) + 0.5) / side
    x, y = np.meshgrid(centres, centres)
    return np.stack([x, y, np.zeros_like(x)], axis=-1)[None]


def landmarks_at(points: np.ndarray) -> np.ndarray:
    """68 landmarks whose five points lie where they shall."""
    landmarks = np.zeros((68, 2), np.float32)
    landmarks[36:42], landmarks[42:48] = points[0], points[1]
    landmarks[30], landmarks[48], landmarks[54] = points[2:]
    return landmarks[None]


def test_the_arcface_chip_carries_the_template_onto_the_face():
    """Turned by 20 degrees, scaled and shifted: what the chip shows at the template's points are the face's points."""
    turn = np.deg2rad(20)
    matrix = 0.4 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = (ARCFACE_TEMPLATE @ matrix.T + [0.4, 0.25]).astype(np.float32)
    chip = np.asarray(arcface_chips(jnp.asarray(coordinates(256)), jnp.asarray(landmarks_at(points))))[0]
    assert chip.shape == (112, 112, 3)
    for (x, y), point in zip(ARCFACE_TEMPLATE * 112 - 0.5, points, strict=True):
        column, row = int(x), int(y)
        a, b = x - column, y - row
        corners = chip[row : row + 2, column : column + 2, :2]
        seen = np.einsum("i,j,ijc->c", [1 - b, b], [1 - a, a], corners)
        np.testing.assert_allclose(seen, point, atol=1e-3)


def test_the_models_own_recognisers_judge_by_descriptors_around_their_centres(restorer, face_crop):
    images = np.asarray(to_float(resize_crop(face_crop.image, 64)))[None]
    landmarks = face_crop.landmarks[None]
    places = (slice(128), slice(128, None))
    for judge, recogniser, part in zip(
        load_judges(["dlib", "mobilefacenet"], restorer), restorer.recognisers, places, strict=True
    ):
        raw = np.asarray(descriptors_of(recogniser, jnp.asarray(images), jnp.asarray(landmarks)))
        raw = raw - restorer.model.center[part]
        np.testing.assert_allclose(judge.embed(images, landmarks), raw / np.linalg.norm(raw), atol=1e-5)
        assert judge.title.endswith("(same network as the condition)")


def write_recogniser(path, shape):
    """An ONNX file of a "recogniser" that sees the mean colour of the chip's left and right half."""
    node, tensor = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [
            node("AveragePool", ["chip"], ["halves"], kernel_shape=[112, 56], strides=[1, 56]),
            node("Flatten", ["halves"], ["embedding"]),
        ],
        "halves",
        [tensor("chip", onnx.TensorProto.FLOAT, shape)],
        [tensor("embedding", onnx.TensorProto.FLOAT, None)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("batch", ["batch", 1])
def test_an_onnx_recogniser_judges(batch, tmp_path, restorer):
    write_recogniser(tmp_path / "arcface.onnx", [batch, 3, 112, 112])
    judges = load_judges([str(tmp_path / "arcface.onnx"), "mobilefacenet", "dlib"], restorer)
    assert [judge.name for judge in judges] == ["arcface", *(each.name for each in restorer.recognisers[::-1])]
    assert [judge.same_as_condition for judge in judges] == [False, True, True] and judges[0].title == "arcface"
    points = (ARCFACE_TEMPLATE * 0.5 + 0.25).astype(np.float32)
    vectors = judges[0].embed(np.repeat(coordinates(64), 2, axis=0), np.repeat(landmarks_at(points), 2, axis=0))
    # The chip spans [0.25, 0.75]: mean x is 0.375 on the left and 0.625 on the right, mean y 0.5.
    expected = np.array([0.375, 0.625, 0.5, 0.5, 0, 0])
    np.testing.assert_allclose(vectors, np.stack([expected / np.linalg.norm(expected)] * 2), atol=1e-4)


def test_bad_judges_are_refused(tmp_path, restorer):
    (tmp_path / "damaged.onnx").write_bytes(b"not a model")
    write_recogniser(tmp_path / "other.onnx", [1, 112, 112, 3])
    with pytest.raises(InputError, match="no such ONNX file"):
        onnx_judge(tmp_path / "nowhere.onnx")
    with pytest.raises(InputError, match="cannot read it"):
        onnx_judge(tmp_path / "damaged.onnx")
    with pytest.raises(InputError, match="not \\[batch, 3, 112, 112\\]"):
        onnx_judge(tmp_path / "other.onnx")
    with pytest.raises(InputError, match="different names"):
        load_judges([], restorer)
    with pytest.raises(InputError, match="arcface: no such ONNX file; give the path of a face recogniser"):
        load_judges(["arcface"], restorer)


def test_without_onnxruntime_one_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (tmp_path / "arcface.onnx").touch()
    with pytest.raises(InputError, match="needs onnxruntime"):
        onnx_judge(tmp_path / "arcface.onnx")
