"""An album by the command, against each of its pictures alone."""

import json

import numpy as np
from PIL import Image

from idfsr_jax.cli import main
from idfsr_jax.face import read_image


def test_an_album_holds_what_each_picture_alone_gives(place, tiny_model, crops, tmp_path):
    """Crops and a photograph of several sizes, a bad file among them; gone on with after an interruption."""
    common = ["--photos", place / "photo.jpg", "--weights", tiny_model, "--seed", 3]
    assert main([str(a) for a in ["fit", *common[:4], "--out", place / "me.safetensors"]]) == 0
    album, out = tmp_path / "album", tmp_path / "out"
    (album / "deep").mkdir(parents=True)
    inputs = ["a.png", "b.png", "deep/c.png"]
    for name, side in zip(inputs, (8, 4, 12), strict=True):
        Image.fromarray(crops[0].image).resize((side, side), Image.Resampling.BOX).save(album / name)
    (album / "bad.png").write_bytes(b"no picture")
    restore = ["restore", "--identity", place / "me.safetensors", *common]
    assert main([str(a) for a in [*restore, album, "--out", out]]) == 2
    for name in inputs:
        assert main([str(a) for a in [*restore, album / name, "--out", tmp_path / "alone.png"]]) == 0
        together, alone = read_image(out / name), read_image(tmp_path / "alone.png")
        assert np.abs(together.astype(int) - alone).max() <= 1
    summary = json.loads((out / "summary.json").read_text())
    assert [entry["output"] for entry in summary["restored"]] == [str(out / name) for name in inputs]
    assert len(summary["failed"]) == 1
    (out / "b.png").unlink()
    (album / "bad.png").unlink()
    assert main([str(a) for a in [*restore, album, "--out", out]]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert [len(summary[state]) for state in ("restored", "skipped", "failed")] == [1, 2, 0]
