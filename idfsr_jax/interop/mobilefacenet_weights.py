"""The shipped weights of MobileFaceNet as a Flax parameter tree.

`tools/mobilefacenet_ms1m.py` made the file and says from what; the licences are in NOTICE.
"""

from pathlib import Path
from typing import Any

import flax.traverse_util
import numpy as np
from safetensors.numpy import load as load_safetensors

from idfsr_jax.io.files import read_known

MOBILEFACENET_SHA256 = "2f2b3fb4017da969711b294e38190a57d3b572d90649df835a788239dd69c719"
"""SHA-256 of `mobilefacenet.safetensors`."""


def default_mobilefacenet() -> Path:
    """Where the package keeps the file."""
    return Path(__file__).parent.parent / "assets" / "recognisers" / "mobilefacenet.safetensors"


def read_mobilefacenet(path: Path | None = None) -> dict[str, Any]:
    """Reads the parameters of `idfsr_jax.networks.mobilefacenet.MobileFaceNet`, trained with ArcFace on MS1M.

    Args:
      path: the `.safetensors` file; the shipped one by default.

    Returns:
      `{"stem": {"kernel", "bias"}, "stem_activation": {"slope"}, ..., "block_0": {"expand": {...}, ...}, ...}`,
      float32; half floats in the file, but for vectors.

    Raises:
      BadWeights: the file is missing, or not that one.
    """
    path = default_mobilefacenet() if path is None else path
    content = read_known(path, MOBILEFACENET_SHA256, "install idfsr-jax again")
    flat = {name: value.astype(np.float32) for name, value in load_safetensors(content).items()}
    return flax.traverse_util.unflatten_dict(flat, sep="/")
