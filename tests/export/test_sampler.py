from dataclasses import replace

import numpy as np

from idfsr_jax.export.sampler import flat_weights
from idfsr_jax.method.guidance import make_guide
from idfsr_jax.method.model import load_model
from idfsr_jax.networks.recognisers import load_recognisers


def test_weights_are_named_by_their_place(tiny_model):
    model = load_model(tiny_model)
    guide = make_guide(load_recognisers(model.config.model.recognisers), model.center)
    weights = flat_weights(model, guide)
    np.testing.assert_array_equal(weights["landmark_net/points/bias"], model.landmark_net["points"]["bias"])
    assert {name.split("/")[0] for name in weights} == {
        *("denoiser", "landmark_net", "guide", "guide_center", "input_cleaner")
    }
    np.testing.assert_array_equal(weights["guide_center"], model.center[128:])
    finished = replace(model, finish={"told": {"bias": np.ones(3, np.float32)}})
    assert set(flat_weights(finished, guide)) - set(weights) == {"finish/told/bias"}
