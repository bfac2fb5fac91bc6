"""The VGG encoder and decoder of SVG (Denton & Fergus 2018) for 64×64 frames.

Shapes: B frames, w channels of the first stage (64 in the lab), g the length of the feature
vector. The encoder's skips are the outputs of its four stages, largest first:
(B, w, 64, 64), (B, 2w, 32, 32), (B, 4w, 16, 16), (B, 8w, 8, 8).
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, interpolate, max_pool2d, pad

FRAME_SIZE = 64  # pixels, both ways: five stages halve it to the 4×4 that the last one takes in


class VGGLayer(nn.Sequential):
    """3×3 convolution, BatchNorm, LeakyReLU: (B, C_in, H, W) → (B, C_out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.LeakyReLU(0.2),  # in place its gradient takes four times as long on a CPU
        )


def layers(*channels: int) -> nn.Sequential:
    """Chain VGG layers that go through these numbers of channels."""
    return nn.Sequential(*(VGGLayer(i, o) for i, o in zip(channels, channels[1:])))


class VGGEncoder(nn.Module):
    """A frame's features: (B, 3, 64, 64) → the vector (B, g), in (-1, 1), and the four skips."""

    def __init__(self, width: int, g_dim: int):
        super().__init__()
        w = width
        self.stages = nn.ModuleList(
            [
                layers(3, w, w),
                layers(w, 2 * w, 2 * w),
                layers(2 * w, 4 * w, 4 * w, 4 * w),
                layers(4 * w, 8 * w, 8 * w, 8 * w),
            ]
        )
        self.head = nn.Sequential(
            nn.Conv2d(8 * w, g_dim, 4), nn.BatchNorm2d(g_dim), nn.Tanh(), nn.Flatten()
        )

    def forward(self, frames: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        skips, x = [], frames
        for stage in self.stages:
            x = stage(x)  # (B, w, 64, 64), (B, 2w, 32, 32), (B, 4w, 16, 16), (B, 8w, 8, 8)
            skips.append(x)
            x = max_pool2d(x, 2)
        return self.head(x), tuple(skips)


class VGGDecoder(nn.Module):
    """Generate a frame: the vector (B, g) and the terms of four skips → (B, 3, 64, 64) in (0, 1).

    Each stage doubles the picture, joins the skip of that size along the channels and convolves
    both. A convolution of joined channels is the sum of one over each part, and the skips of many
    steps are the same: `skip_terms` computes their part once, and `forward` takes it in.
    """

    def __init__(self, width: int, g_dim: int):
        super().__init__()
        w = width
        self.head = nn.Sequential(
            nn.Unflatten(1, (g_dim, 1, 1)),
            nn.ConvTranspose2d(g_dim, 8 * w, 4),
            nn.BatchNorm2d(8 * w),
            nn.LeakyReLU(0.2),
        )
        self.stages = nn.ModuleList(  # smallest picture first
            [
                DecoderStage(8 * w, 8 * w, 8 * w, 4 * w),
                DecoderStage(4 * w, 4 * w, 4 * w, 2 * w),
                DecoderStage(2 * w, 2 * w, w),
                DecoderStage(w, w, w),
            ]
        )
        self.tail = nn.ConvTranspose2d(w, 3, 3, padding=1)

    def compile(self, *args, **kwargs) -> None:
        """Compile once for a number of frames, and from the second number on for all of them.

        How many steps are predicted at once is up to the tosses of teacher forcing.
        """
        super().compile(*args, **kwargs | {"dynamic": None})

    def skip_terms(self, skips: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return what the skips contribute to each stage's first convolution, largest first."""
        return tuple(stage.skip(x) for stage, x in zip(reversed(self.stages), skips))

    def forward(self, vectors: Tensor, skip_terms: tuple[Tensor, ...]) -> Tensor:
        x = self.head(vectors)  # (B, 8w, 4, 4)
        for stage, term in zip(self.stages, reversed(skip_terms)):
            x = stage(x, term)  # (B, 4w, 8, 8), (B, 2w, 16, 16), (B, w, 32, 32), (B, w, 64, 64)
        return torch.sigmoid(self.tail(x).float())


class DecoderStage(nn.Module):
    """Double a picture, join a skip of as many channels, and apply VGG layers.

    (B, C, H, W) and the term of a skip (B, C_1, 2H, 2W) → (B, C_out, 2H, 2W). The first layer's
    convolution is in two parts, `below` for the picture and `skip` for the skip, which together
    are one of 2C channels.
    """

    # From this picture size on the doubling is folded into the kernel; below it, the larger
    # kernel takes longer to read than it saves.
    FOLDED_FROM = 8

    def __init__(self, in_channels: int, *channels: int):
        super().__init__()
        joined = layers(2 * in_channels, *channels)
        (whole, *rest), *others = joined
        self.below = nn.Conv2d(in_channels, channels[0], 3, padding=1, bias=False)
        self.skip = nn.Conv2d(in_channels, channels[0], 3, padding=1)
        with torch.no_grad():  # initial weights for the 2C channels that the parts take in
            self.below.weight.copy_(whole.weight[:, :in_channels])
            self.skip.weight.copy_(whole.weight[:, in_channels:])
            self.skip.bias.copy_(whole.bias)
        self.rest = nn.Sequential(*rest, *others)

    def forward(self, x: Tensor, skip_term: Tensor) -> Tensor:
        x = doubled_conv(x, self.below.weight, folded=x.shape[-1] >= self.FOLDED_FROM)
        return self.rest(x.add_(skip_term))


def doubled_conv(x: Tensor, kernel: Tensor, folded: bool) -> Tensor:
    """Convolve a picture doubled by nearest neighbors: (B, C, H, W) → (B, C_out, 2H, 2W).

    kernel: (C_out, C, 3, 3). Doubling is a transposed convolution by a 2×2 kernel of ones;
    `folded` into the 3×3 kernel it makes one transposed 4×4 convolution of stride 2, with the
    same result and 4/9 of the multiplications.
    """
    if not folded:
        return conv2d(interpolate(x, scale_factor=2.0), kernel, padding=1)
    turned = kernel.flip(2, 3).transpose(0, 1)  # (C, C_out, 3, 3)
    wide = pad(turned, (0, 1)) + pad(turned, (1, 0))
    wide = pad(wide, (0, 0, 0, 1)) + pad(wide, (0, 0, 1, 0))  # (C, C_out, 4, 4)
    return conv_transpose2d(x, wide, stride=2, padding=1)
