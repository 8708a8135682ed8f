"""The converted judge against the same network in PyTorch, with random weights."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from tools.mobilefacenet_onnx import BOTTLENECKS, convert


class Layers(nn.Sequential):
    """Convolution, batch norm and PReLU under MobileFaceNet_Pytorch's names."""

    def __init__(self, width, out, side, stride=1, pad=0, groups=1, active=True):
        super().__init__()
        self.conv = nn.Conv2d(width, out, side, stride, pad, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(out)
        if active:
            self.prelu = nn.PReLU(out)


class Bottleneck(nn.Module):
    def __init__(self, width, out, stride, expansion):
        super().__init__()
        wide = width * expansion
        narrow, shift = nn.Conv2d(wide, out, 1, bias=False), nn.BatchNorm2d(out)
        depthwise = nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False)
        first = nn.Conv2d(width, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.PReLU(wide)
        self.conv = nn.Sequential(*first, depthwise, nn.BatchNorm2d(wide), nn.PReLU(wide), narrow, shift)
        self.skip = stride == 1 and width == out

    def forward(self, x):
        return x + self.conv(x) if self.skip else self.conv(x)


class MobileFaceNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = Layers(3, 64, 3, 2, 1)
        self.dw_conv1 = Layers(64, 64, 3, 1, 1, groups=64)
        blocks, width = [], 64
        for expansion, out, count, stride in BOTTLENECKS:
            for index in range(count):
                blocks.append(Bottleneck(width, out, stride if index == 0 else 1, expansion))
                width = out
        self.blocks = nn.Sequential(*blocks)
        self.conv2 = Layers(128, 512, 1)
        self.linear7 = Layers(512, 512, (7, 6), groups=512, active=False)
        self.linear1 = Layers(512, 128, 1, active=False)

    def forward(self, x):
        for part in (self.conv1, self.dw_conv1, self.blocks, self.conv2, self.linear7, self.linear1):
            x = part(x)
        return x.flatten(1)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = MobileFaceNet()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.2)
            layer.running_var.uniform_(0.5, 2.0)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0, 0.2)
        if isinstance(layer, nn.PReLU):
            nn.init.uniform_(layer.weight, -0.5, 0.5)
    return network.eval()


def test_the_converted_network_is_the_same(network, tmp_path):
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    torch.save({"net_state_dict": state}, tmp_path / "068.ckpt")
    assert convert(tmp_path / "068.ckpt", tmp_path / "judge.onnx") == 0
    chips = np.random.default_rng(0).uniform(-1, 1, (3, 3, 112, 112)).astype(np.float32)
    (found,) = onnxruntime.InferenceSession(tmp_path / "judge.onnx").run(None, {"input": chips})
    with torch.no_grad():
        expected = network(torch.from_numpy(chips[..., 8:104])).numpy()
    assert expected.std() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_another_checkpoint_is_a_sentence(network, tmp_path, capsys):
    torch.save({"conv1.conv.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "other.ckpt")
    assert convert(tmp_path / "other.ckpt", tmp_path / "judge.onnx") == 2
    assert "the checkpoint has no conv1.bn.weight; give" in capsys.readouterr().err
    assert convert(tmp_path / "missing.ckpt", tmp_path / "judge.onnx") == 2
    assert "missing.ckpt: cannot be read as a checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "judge.onnx").exists()
