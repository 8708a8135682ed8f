import numpy as np

from idfsr_jax.export.sampler import flat_weights
from idfsr_jax.method.model import load_model


def test_weights_are_named_by_their_place(tiny_model):
    model = load_model(tiny_model)
    weights = flat_weights(model)
    np.testing.assert_array_equal(weights["landmark_net/points/bias"], model.landmark_net["points"]["bias"])
    assert {name.split("/")[0] for name in weights} == {"denoiser", "landmark_net"}
