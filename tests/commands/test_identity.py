"""`idfsr identity show`: what is not known of one photograph is not made up."""

from pathlib import Path

import numpy as np
import pytest

from idfsr_jax import cli
from idfsr_jax.restore.identity import Identity


@pytest.mark.parametrize(
    ("photographs", "agreement", "line"),
    [
        (1, np.nan, "agreement    one photograph, not known"),
        (3, 0.9, "agreement    0.90 (mean cosine of all pairs; they agree)"),
        (3, np.nan, "agreement    0.71 (mean cosine of all pairs; not recorded, typical assumed)"),
    ],
)
def test_agreement_is_of_pairs(
    photographs: int, agreement: float, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    start, path = np.eye(128, dtype=np.float32)[0], tmp_path / "me.safetensors"
    losses, shape = np.zeros(2, np.float32), np.zeros((68, 2), np.float32)
    Identity(start, start, losses, photographs, "mobilefacenet", "ab" * 32, agreement=agreement, shape=shape).save(path)
    assert cli.main(["identity", "show", str(path)]) == 0
    assert line in capsys.readouterr().out.splitlines()
