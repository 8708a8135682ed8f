"""The weights of the recognisers that come with the package, as Flax parameter trees.

`tools/mobilefacenet_ms1m.py` and `tools/mobileface.py` made the files and say from what; the licences are in NOTICE.
"""

from pathlib import Path
from typing import Any

import flax.traverse_util
import numpy as np
from safetensors.numpy import load as load_safetensors

from idfsr_jax.io.files import read_known

SHA256 = {
    "mobilefacenet": "2f2b3fb4017da969711b294e38190a57d3b572d90649df835a788239dd69c719",
    "mobilefacenet-relu6": "83f854288182d0897a3ddc5c7af4800c1fa74cffcba05411613d79d988b154e0",
    "mobileface": "d4ba168608f7c3777b828520c4ab4a1239c03cef263f42868bbd6bae0aca0f8d",
}
"""SHA-256 of each one's `.safetensors` file, by its name in configs."""


def shipped_file(name: str) -> Path:
    """Where the package keeps a recogniser.

    Args:
      name: one of `SHA256`.
    """
    return Path(__file__).parent.parent / "assets" / "recognisers" / f"{name}.safetensors"


def read_shipped(name: str, path: Path | None = None) -> dict[str, Any]:
    """Reads the parameters of a recogniser that comes with the package.

    Args:
      name: one of `SHA256`.
      path: the `.safetensors` file; the shipped one by default.

    Returns:
      `{"stem": {"kernel", "bias"}, ..., "block_0": {"expand": {...}, ...}, ...}`, float32; half floats in the file, but
      for vectors.

    Raises:
      BadWeights: the file is missing, or not that one.
    """
    content = read_known(shipped_file(name) if path is None else path, SHA256[name], "install idfsr-jax again")
    flat = {key: value.astype(np.float32) for key, value in load_safetensors(content).items()}
    return flax.traverse_util.unflatten_dict(flat, sep="/")
