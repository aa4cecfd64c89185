"""ResNet-18 and ResNet-50 (He et al., 2016), with the layers, names and initialisation of torchvision's."""

from __future__ import annotations

from torch import Tensor, nn


def _convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


class BasicBlock(nn.Module):
    """Two convolutions of size 3 with a residual connection.

    Args:
        inputs: channels of the input.
        channels: channels of the output.
        stride: stride of the first convolution.
    """

    expansion = 1

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _convolution(inputs, channels, 3, stride), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = _convolution(channels, channels, 3), nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.downsample = _shortcut(inputs, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the block, (n, channels, height / stride, width / stride)."""
        found = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(found)) + self.downsample(x))


class Bottleneck(nn.Module):
    """Convolutions of sizes 1, 3 and 1 with a residual connection; the stride is that of the second (ResNet v1.5).

    Args:
        inputs: channels of the input.
        channels: channels of the middle convolution; the output has four times as many.
        stride: stride of the middle convolution.
    """

    expansion = 4

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        outputs = channels * self.expansion
        self.conv1, self.bn1 = _convolution(inputs, channels, 1), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = _convolution(channels, channels, 3, stride), nn.BatchNorm2d(channels)
        self.conv3, self.bn3 = _convolution(channels, outputs, 1), nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the block, (n, 4 channels, height / stride, width / stride)."""
        found = self.relu(self.bn1(self.conv1(x)))
        found = self.relu(self.bn2(self.conv2(found)))
        return self.relu(self.bn3(self.conv3(found)) + self.downsample(x))


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(_convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class ResNet(nn.Module):
    """A first convolution, four stages of blocks, a mean over pixels and one linear layer.

    Args:
        block: kind of block.
        blocks: number of blocks of each stage.
        channels: channels of the images.
        classes: width of the output.
        small: whether the first convolution has size 3 and keeps the resolution, as is usual for images of 32 x 32 pixels;
            otherwise it has size 7, and it and a maximum each halve the resolution.
        width: channels of the first stage, before the expansion of a bottleneck; each later one has twice as many.
    """

    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        blocks: tuple[int, ...],
        channels: int,
        classes: int,
        small: bool,
        width: int,
    ) -> None:
        super().__init__()
        stages = [width, 2 * width, 4 * width, 8 * width]
        self.conv1 = _convolution(channels, width, 3) if small else _convolution(channels, width, 7, 2)
        self.bn1, self.relu = nn.BatchNorm2d(width), nn.ReLU()
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, stride=2, padding=1)
        for stage, (count, own) in enumerate(zip(blocks, stages, strict=True), start=1):
            layers: list[nn.Module] = []
            for index in range(count):
                layers.append(block(width, own, stride=2 if stage > 1 and index == 0 else 1))
                width = own * block.expansion
            self.add_module(f"layer{stage}", nn.Sequential(*layers))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, (n, classes), of images (n, channels, height, width)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


def resnet18(channels: int = 3, classes: int = 1000, small: bool = False, width: int = 64) -> nn.Module:
    """Return ResNet-18.

    Args:
        channels: channels of the images.
        classes: width of the output.
        small: whether images are small (:class:`ResNet`).
        width: channels of the first stage.
    """
    return ResNet(BasicBlock, (2, 2, 2, 2), channels, classes, small, width)


def resnet50(channels: int = 3, classes: int = 1000, small: bool = False, width: int = 64) -> nn.Module:
    """Return ResNet-50.

    Args:
        channels: channels of the images.
        classes: width of the output.
        small: whether images are small (:class:`ResNet`).
        width: channels of the first stage.
    """
    return ResNet(Bottleneck, (3, 4, 6, 3), channels, classes, small, width)
