import jax.numpy as jnp
import numpy as np

from idfsr_jax.data.pairs import nearest_in_pose as reference_choice
from idfsr_jax.export.sampler import flat_weights, nearest_in_pose
from idfsr_jax.weights import load_model


def test_the_reference_is_the_one_that_restoring_takes():
    rng = np.random.default_rng(0)
    faces = rng.uniform(size=(6, 68, 2)).astype(np.float32)
    candidates = rng.uniform(size=(6, 5, 68, 2)).astype(np.float32)
    expected = [reference_choice(face, several) for face, several in zip(faces, candidates, strict=True)]
    assert len(set(expected)) > 1
    np.testing.assert_array_equal(nearest_in_pose(jnp.asarray(faces), jnp.asarray(candidates)), expected)


def test_weights_are_named_by_their_place(tiny_model, tiny_weights):
    weights = flat_weights(load_model(tiny_model))
    np.testing.assert_array_equal(weights["landmark_net/points/bias"], tiny_weights[1]["points"]["bias"])
    assert {name.split("/")[0] for name in weights} == {"denoiser", "landmark_net"}
