"""The two building blocks of the lab's networks: residual and depthwise-separable convolutions.

Attribute names are part of the checkpoint format (docs/lab.md, "Networks").
Shapes: B batch, C channels, H height, W width. Every block keeps H and W.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, leaky_relu


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions added to their input: (B, C_in, H, W) → (B, C_out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.activation = nn.LeakyReLU(0.01, inplace=True)
        self.skip = _match_channels(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.activation(self.conv1(x))  # (B, C_out, H, W)
        y = self.activation(self.conv2(y))
        return y + self.skip(x)


class DepthConv(nn.Module):
    """Pointwise, depthwise 3×3, pointwise: a cheap spatial mixing with a residual path."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv2d(in_channels, in_channels, 1), nn.LeakyReLU(0.01, inplace=True)
        )
        self.depth_conv = nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels)
        self.conv2 = nn.Conv2d(in_channels, out_channels, 1)
        self.adaptor = _match_channels(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.depth_conv(self.conv1(x))) + self.adaptor(x)


class GatedFeedForward(nn.Module):
    """Pointwise mixing where one half of the channels gates the other."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, 4 * channels, 1)
        self.conv_out = nn.Conv2d(2 * channels, channels, 1)
        self.activation = nn.LeakyReLU(0.1, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        mix = self._mix_by_halves if x.device.type == "cpu" else self._mix_at_once
        return self.conv_out(mix(x)) + x

    def _mix_by_halves(self, x: Tensor) -> Tensor:
        """Gate the channels, (B, C, H, W) → (B, 2C, H, W), by two convolutions with half of `conv`.

        The halves are then contiguous, and no gradient has to be put together from two.
        """
        weights, biases = self.conv.weight.chunk(2), self.conv.bias.chunk(2)
        value, gate = (conv2d(x, w, b) for w, b in zip(weights, biases))  # (B, 2C, H, W) each
        return value * self.activation(gate)

    def _mix_at_once(self, x: Tensor) -> Tensor:
        """Do the same by one convolution.

        Where each operation is a launch, fewer of them count; and autocast keeps the weights that
        it has cast, but not a half of them, which is a view.
        """
        value, gate = self.conv(x).chunk(2, dim=1)
        return value * leaky_relu(gate, self.activation.negative_slope)


class DepthConvBlock(nn.Module):
    """Spatial, then channel mixing: (B, C_in, H, W) → (B, C_out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.block = nn.Sequential(
            DepthConv(in_channels, out_channels), GatedFeedForward(out_channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


def _match_channels(in_channels: int, out_channels: int) -> nn.Module:
    if in_channels == out_channels:
        return nn.Identity()
    return nn.Conv2d(in_channels, out_channels, 1)


def concatenate(*features: Tensor) -> Tensor:
    """Join feature maps along the channels: (B, C_i, H, W)… → (B, ΣC_i, H, W)."""
    return torch.cat(features, dim=1)
