"""Faces of several sizes in one photograph are all found, each once."""

import numpy as np
import pytest
from PIL import Image

from idfsr_jax.face import find_faces
from idfsr_jax.face.search import _overlap, _starts, find_every_face


@pytest.fixture(scope="module")
def group(_astronaut):
    """The astronaut's head three times on grey, with faces about 84, 42 and 25 px wide, from left to right."""
    head = Image.fromarray(_astronaut).crop((120, 0, 360, 300))
    canvas = Image.new("RGB", (520, 320), (128, 128, 128))
    left = 10
    for factor in (1.0, 0.5, 0.3):
        size = (round(240 * factor), round(300 * factor))
        canvas.paste(head.resize(size, Image.Resampling.LANCZOS), (left, 10))
        left += size[0] + 20
    return np.array(canvas)


def test_small_faces_beside_a_large_one_are_found(group):
    faces = find_every_face(group)
    assert len(faces) == 3
    assert [face.box[0] for face in faces] == sorted(face.box[0] for face in faces)
    widths = np.array([face.box[2] for face in faces])
    np.testing.assert_allclose(widths[1:] / widths[0], [0.5, 0.3], rtol=0.35)
    # The ladder that stops at its first success sees the large one only.
    assert len(find_faces(group)) == 1


def test_landmarks_are_where_the_face_is(group):
    large, small = find_every_face(group)[:2]
    expected = (large.landmarks - (10, 10)) * 0.5 + (270, 10)
    assert np.linalg.norm(small.landmarks - expected, axis=1).mean() < 3.0


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_photograph_that_lies_is_read_as_it_lies(group, quarters):
    lying = find_every_face(np.ascontiguousarray(np.rot90(group, quarters)))
    assert [face.box[0] for face in lying] == sorted(face.box[0] for face in lying)
    upright = [face.landmarks - (260, 160) for face in find_every_face(group)]
    cosine, sine = np.cos(np.pi / 2 * quarters), np.sin(np.pi / 2 * quarters)
    expected = [points @ [[cosine, -sine], [sine, cosine]] for points in upright]
    middle = (160, 260) if quarters % 2 else (260, 160)
    assert len(lying) == len(expected) == 3
    for face in lying:
        assert min(np.abs(face.landmarks - middle - points).max() for points in expected) < 1e-3
        x, y, w, h = face.box
        assert 0.3 < (face.landmarks[30, 0] - x) / w < 0.7 and 0.3 < (face.landmarks[30, 1] - y) / h < 0.7


def test_a_photograph_with_a_sure_face_is_looked_at_once(astronaut, monkeypatch):
    looked_at = []
    monkeypatch.setattr("idfsr_jax.face.detect.np.rot90", lambda *_: looked_at.append(1))
    assert len(find_every_face(astronaut, budget=1)) == 1 and not looked_at


def test_a_budget_keeps_to_the_first_rung(group):
    assert len(find_every_face(group, budget=1)) == 1


@pytest.mark.parametrize(
    ("length", "side", "overlap"), [(100, 30.0, 8), (100, 200.0, 8), (1201, 399.5, 80), (5, 9.0, 3)]
)
def test_tiles_cover_the_whole_and_overlap(length, side, overlap):
    starts = _starts(length, side, overlap)
    ends = [start + side + overlap for start in starts]
    assert starts[0] == 0 and ends[-1] >= length - 1
    assert all(end - following >= overlap - 1 for end, following in zip(ends, starts[1:], strict=False))


def test_a_face_within_a_face_is_one():
    assert _overlap((0, 0, 40, 40), (10, 10, 10, 10)) == 1.0
    assert _overlap((0, 0, 10, 10), (20, 0, 10, 10)) == 0.0
    assert _overlap((0, 0, 10, 10), (5, 0, 10, 10)) == 0.5
