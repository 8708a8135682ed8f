"""State dicts of insightface's names against the PyTorch network: within 1e-5 of an embedding's largest number."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from idfsr_jax.cli import main
from idfsr_jax.interop import torch_weights
from idfsr_jax.interop.torch_weights import convert_checkpoint, parse_state_dict
from idfsr_jax.io.errors import BadWeights
from idfsr_jax.networks.id_encoder import chip_descriptors, load_id_encoder
from idfsr_jax.networks.iresnet import IResNet

UNITS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}
WIDTHS = (64, 128, 256, 512)


def embeddings(network, chips) -> np.ndarray:
    with torch.no_grad():
        return network(torch.from_numpy((chips / 127.5 - 1.0).transpose(0, 3, 1, 2).astype(np.float32))).numpy()


@pytest.fixture
def tiny(torch_iresnet):
    return torch_iresnet()


@pytest.mark.parametrize("prefix", ["", "module."])
def test_equals_pytorch(prefix, tiny, chips, tmp_path):
    path = tmp_path / "backbone.safetensors"
    save_file({prefix + name: value for name, value in tiny.state_dict().items()}, path)
    ours = jax.jit(chip_descriptors)(load_id_encoder(f"arcface:{path}"), chips)
    expected = embeddings(tiny, chips)
    np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize("depth", UNITS)
def test_the_usual_networks_have_insightfaces_shapes(depth, iresnet_class, monkeypatch):
    """Of every size in use: the tree that is read from a state dict is the one that the Flax network has."""
    with torch.device("meta"):
        network = iresnet_class(UNITS[depth], WIDTHS, 512)
    state = {name: np.broadcast_to(np.float32(1), value.shape) for name, value in network.state_dict().items()}
    # Shapes are enough: folding would fill the memory.
    shaped = lambda *shape: np.broadcast_to(np.float32(1), shape)  # noqa: E731
    convolution = lambda k, bias, norm: {"kernel": shaped(*k.shape[2:], *k.shape[1::-1]), "bias": norm.mean}  # noqa: E731
    embedding = lambda weight, *_: {"kernel": shaped(*weight.shape[::-1]), "bias": weight[:, 0]}  # noqa: E731
    monkeypatch.setattr(torch_weights, "convolution", convolution)
    monkeypatch.setattr(torch_weights, "embedding", embedding)
    weights = parse_state_dict(state)
    variables = jax.eval_shape(IResNet(weights.blocks, 512).init, jax.random.key(0), jnp.zeros((1, 112, 112, 3)))
    assert jax.tree.map(np.shape, weights.params) == jax.tree.map(np.shape, variables["params"])
    strides = [2 if place == 0 else 1 for count in UNITS[depth] for place in range(count)]
    assert weights.blocks == tuple(zip(np.repeat(WIDTHS, UNITS[depth]).tolist(), strides, strict=True))


@pytest.mark.parametrize("nested", [False, True])
def test_a_checkpoint_is_converted_and_then_is_an_encoder(nested, tiny, chips, tmp_path, capsys):
    state = tiny.state_dict()
    torch.save({"state_dict": state, "epoch": 3} if nested else state, tmp_path / "backbone.pth")
    assert main(["convert", "--weights", str(tmp_path / "backbone.pth"), "--out", str(tmp_path / "out")]) == 0
    assert f"arcface:{tmp_path / 'out' / 'backbone.safetensors'}" in capsys.readouterr().out
    ours = chip_descriptors(load_id_encoder(f"arcface:{tmp_path / 'out' / 'backbone.safetensors'}"), jnp.asarray(chips))
    expected = embeddings(tiny, chips)
    np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(expected).max(), rtol=0)


class Evil:
    def __reduce__(self):
        return (print, ("this ran",))


def test_a_checkpoint_that_would_run_code_is_not_opened(tmp_path, capsys):
    torch.save({"state_dict": Evil()}, tmp_path / "evil.pth")
    assert main(["convert", "--weights", str(tmp_path / "evil.pth"), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert "this ran" not in said.out and "evil.pth" in said.err and "code" in said.err and said.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_other_checkpoints_are_refused_by_name(tiny, tmp_path, monkeypatch):
    state = tiny.state_dict()
    del state["layer3.0.bn2.running_mean"]
    torch.save(state, tmp_path / "part.pth")
    with pytest.raises(BadWeights, match=r"part\.pth.*lacks layer3\.0\.bn2\.running_mean"):
        convert_checkpoint(tmp_path / "part.pth", tmp_path / "out")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(BadWeights, match=r"lacks conv1\.weight"):
        convert_checkpoint(tmp_path / "list.pth", tmp_path / "out")
    with pytest.raises(BadWeights, match="no such file"):
        convert_checkpoint(tmp_path / "nowhere.pth", tmp_path / "out")
    (tmp_path / "cut.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}")
    with pytest.raises(BadWeights, match="cut"):
        load_id_encoder(f"arcface:{tmp_path / 'cut.safetensors'}")
    assert not (tmp_path / "out").exists()
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(BadWeights, match="needs PyTorch"):
        convert_checkpoint(tmp_path / "part.pth", tmp_path / "out")
