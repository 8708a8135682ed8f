"""The shipped weights of MobileFaceNet as a Flax parameter tree.

`tools/mobilefacenet_ms1m.py` made the file and says from what; the licences are in NOTICE.
"""

import hashlib
from pathlib import Path
from typing import Any

import flax.traverse_util
import numpy as np
from safetensors.numpy import load as load_safetensors

from idfsr_jax.io.errors import BadWeights

MOBILEFACENET_SHA256 = "2f2b3fb4017da969711b294e38190a57d3b572d90649df835a788239dd69c719"
"""SHA-256 of `mobilefacenet.safetensors`."""


def default_mobilefacenet() -> Path:
    """Where the package keeps the file."""
    return Path(__file__).parent.parent / "assets" / "recognisers" / "mobilefacenet.safetensors"


def read_mobilefacenet(path: str | Path | None = None, *, sha256: str = MOBILEFACENET_SHA256) -> dict[str, Any]:
    """Reads the parameters of `idfsr_jax.networks.mobilefacenet.MobileFaceNet`, trained with ArcFace on MS1M.

    Args:
      path: the `.safetensors` file; the shipped one by default.
      sha256: what the file's SHA-256 must be.

    Returns:
      `{"stem": {"kernel", "bias"}, "stem_activation": {"slope"}, ..., "block_0": {"expand": {...}, ...}, ...}`,
      float32; half floats in the file, but for vectors.

    Raises:
      BadWeights: the file is missing, damaged, or another network's.
    """
    path = default_mobilefacenet() if path is None else Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadWeights(f"{path}: cannot be read ({error.strerror}); install idfsr-jax again.") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise BadWeights(f"{path}: its SHA-256 sum is not that of the shipped MobileFaceNet; install idfsr-jax again.")
    flat = {name: value.astype(np.float32) for name, value in load_safetensors(content).items()}
    return flax.traverse_util.unflatten_dict(flat, sep="/")
