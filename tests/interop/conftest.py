"""insightface's IResNet as PyTorch has it: the reference for everything that reads its weights."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def iresnet_class():
    """The class; made when it is asked for, as PyTorch may be missing."""
    torch = pytest.importorskip("torch", reason="the reference is PyTorch")
    from torch import nn

    class Unit(nn.Module):
        """insightface's `IBasicBlock`."""

        def __init__(self, inputs: int, width: int, stride: int) -> None:
            super().__init__()
            self.bn1 = nn.BatchNorm2d(inputs, eps=1e-5)
            self.conv1 = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(width, eps=1e-5)
            self.prelu = nn.PReLU(width)
            self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
            self.bn3 = nn.BatchNorm2d(width, eps=1e-5)
            self.downsample = None
            if stride != 1 or inputs != width:
                self.downsample = nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x)))))
            return self.bn3(y) + (x if self.downsample is None else self.downsample(x))

    class TorchIResNet(nn.Module):
        """insightface's `IResNet`, of any widths."""

        def __init__(self, units: tuple[int, ...], widths: tuple[int, ...], dimension: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(widths[0])
            self.prelu = nn.PReLU(widths[0])
            inputs = widths[0]
            for number, (count, width) in enumerate(zip(units, widths, strict=True), 1):
                blocks = [
                    Unit(inputs if place == 0 else width, width, 2 if place == 0 else 1) for place in range(count)
                ]
                setattr(self, f"layer{number}", nn.Sequential(*blocks))
                inputs = width
            self.bn2 = nn.BatchNorm2d(inputs)
            self.dropout = nn.Dropout(p=0.0, inplace=True)
            self.fc = nn.Linear(inputs * 49, dimension)
            self.features = nn.BatchNorm1d(dimension)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.prelu(self.bn1(self.conv1(x)))
            x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
            return self.features(self.fc(torch.flatten(self.dropout(self.bn2(x)), 1)))

    return TorchIResNet


@pytest.fixture(scope="session")
def torch_iresnet(iresnet_class):
    """Makes such a network with random weights: no norm is the identity, no slope is another's."""
    import torch

    def make(units=(2, 1, 3, 1), widths=(8, 12, 16, 24), dimension=32, seed=0) -> torch.nn.Module:
        generator = torch.Generator().manual_seed(seed)
        network = iresnet_class(units, widths, dimension).eval()
        for name, value in network.state_dict().items():
            if value.ndim > 1:
                fan_in = value[0].numel()
                value.copy_(torch.randn(value.shape, generator=generator) / fan_in**0.5)
            elif name.endswith("running_var"):
                value.copy_(0.5 + torch.rand(value.shape, generator=generator))
            elif name.endswith(("bias", "running_mean")):
                value.copy_(0.2 * torch.randn(value.shape, generator=generator))
            elif value.is_floating_point():
                value.copy_(0.6 + 0.8 * torch.rand(value.shape, generator=generator))
            if "prelu" in name:
                value.sub_(0.5)
        return network

    return make


@pytest.fixture(scope="session")
def chips() -> np.ndarray:
    """Three pictures of 0 to 255."""
    return np.random.default_rng(1).integers(0, 256, (3, 112, 112, 3)).astype(np.float32)
