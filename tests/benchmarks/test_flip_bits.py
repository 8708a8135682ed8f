import numpy as np
import pytest


# Of a checkpoint some twenty digits, when it was finished, are in no sum: one of ten may hit them, two will not.
@pytest.mark.parametrize(("subject", "least"), [("_checkpoint", 9), ("_identity", 10), ("_model", 10)])
def test_flipped_bits_are_noticed(tmp_path, subject, least):
    from benchmarks import flip_bits

    rng = np.random.default_rng(1)
    load = getattr(flip_bits, subject)(tmp_path / "files", rng)
    counts = flip_bits.flipped(tmp_path / "files", load, 10, rng)
    assert counts["refused"] + counts["harmless"] == 10 and counts["refused"] >= least


def test_damage_that_is_loaded_fails_the_check(tmp_path):
    from benchmarks.flip_bits import flipped

    (tmp_path / "data").write_bytes(bytes(100))
    load = lambda: np.frombuffer((tmp_path / "data").read_bytes(), np.uint8).copy()  # noqa: E731
    with pytest.raises(AssertionError, match=r"data, byte .*: the damage was loaded"):
        flipped(tmp_path, load, 1, np.random.default_rng(0))
