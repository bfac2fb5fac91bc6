"""The five networks at several resolutions, for frames larger than the lab's.

What is far apart is decided where the grid is coarse, what is fine is generated where it is fine,
and features of the same scale join on the way up (after U-Net: Ronneberger, Fischer & Brox 2015).

Shapes: B batch, h×w the finest grid, S scales; scale s has a grid of h/2ˢ × w/2ˢ. F, L and D are
the widths at the coarsest scale, each finer one has half. Between the networks the features of all
scales travel as one vector a frame, (B, K), so that whoever hands them on need not know of scales.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from modules.gaussian import reparameterize
from modules.layers import DepthConvBlock, ResidualBlock, concatenate


class Pyramid:
    """Where the maps of each scale lie in a vector: (B, C_s, h/2ˢ, w/2ˢ)… ↔ (B, K)."""

    def __init__(self, width: int, grid: tuple[int, int], scales: int):
        """width: channels of the coarsest scale; grid: (h, w) of the finest."""
        self.widths = [width >> (scales - 1 - s) for s in range(scales)]
        self.grids = [(grid[0] >> s, grid[1] >> s) for s in range(scales)]
        self.sizes = [c * h * w for c, (h, w) in zip(self.widths, self.grids)]

    @property
    def size(self) -> int:
        """K, the numbers of a frame."""
        return sum(self.sizes)

    def pack(self, maps: Sequence[Tensor]) -> Tensor:
        # Colors last, as they are in memory.
        return torch.cat([x.permute(0, 2, 3, 1).flatten(1) for x in maps], dim=1)

    def unpack(self, packed: Tensor) -> list[Tensor]:
        parts = packed.split(self.sizes, dim=1)
        shapes = [(h, w, c) for c, (h, w) in zip(self.widths, self.grids)]
        maps = [part.unflatten(1, shape).permute(0, 3, 1, 2) for part, shape in zip(parts, shapes)]
        return [x.contiguous(memory_format=torch.channels_last) for x in maps]


class Frame_Encoder(nn.ModuleList):
    """Features of a frame at every scale: (B, in_chans, h, w) → (B, K)."""

    def __init__(self, in_chans: int, pyramid: Pyramid):
        widths = pyramid.widths
        super().__init__([ResidualBlock(in_chans, widths[0])])
        self.extend(
            nn.Sequential(nn.Conv2d(fine, coarse, 2, stride=2), ResidualBlock(coarse, coarse))
            for fine, coarse in pairwise(widths)
        )
        self.pyramid = pyramid

    def forward(self, x: Tensor) -> Tensor:
        maps = []
        for stage in self:
            x = stage(x)  # (B, C_s, h/2ˢ, w/2ˢ)
            maps.append(x)
        return self.pyramid.pack(maps)


class Pose_Encoder(Frame_Encoder):
    """Features of a pose image at every scale; its white ground is 0 here, as the padding is."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(1 - x)


class Posterior(nn.Sequential):
    """q(z | x_t, P_t) from the coarsest features: → (z, mu, logvar)."""

    def __init__(self, frames: Pyramid, poses: Pyramid, latent: int):
        width = frames.widths[-1]
        super().__init__(
            ResidualBlock(width + poses.widths[-1], width // 2),
            nn.Conv2d(width // 2, 2 * latent, 1),
        )
        self.pyramids = frames, poses

    def forward(
        self, frame_feature: Tensor, label_feature: Tensor, noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `modules.modules.Gaussian_Predictor`; each result is (B, N, h/2ˢ, w/2ˢ), coarsest."""
        both = zip(self.pyramids, (frame_feature, label_feature))
        coarsest = [pyramid.unpack(feature)[-1] for pyramid, feature in both]
        mu, logvar = super().forward(concatenate(*coarsest)).float().chunk(2, dim=1)
        return reparameterize(mu, logvar, noise), mu, logvar


class Fusion(nn.Module):
    """Join frame, pose and latent where the grid is coarsest, and keep what is finer beside it."""

    def __init__(self, frames: Pyramid, poses: Pyramid, latent: int, width: int):
        super().__init__()
        self.mix = nn.Sequential(
            ResidualBlock(frames.widths[-1] + poses.widths[-1] + latent, width),
            DepthConvBlock(width, width),
            ResidualBlock(width, width),
            DepthConvBlock(width, width),
        )
        self.pyramids = frames, poses

    def forward(self, frame_feature: Tensor, label_feature: Tensor, z: Tensor) -> list[Tensor]:
        """(B, K_F), (B, K_L), (B, N, …) → maps for the Generator, finest first."""
        both = zip(self.pyramids, (frame_feature, label_feature))
        *finer, coarsest = zip(*(pyramid.unpack(feature) for pyramid, feature in both))
        fused = self.mix(concatenate(*coarsest, z.to(frame_feature.dtype)))
        return [*(concatenate(*maps) for maps in finer), fused]


class Multiscale_Generator(nn.Module):
    """Generate the frame from the coarsest scale to the finest: maps → (B, out_chans, h, w)."""

    def __init__(self, frames: Pyramid, poses: Pyramid, width: int, out_chans: int):
        super().__init__()
        skips = [sum(pair) for pair in zip(frames.widths, poses.widths)]
        widths = [width >> s for s in range(len(skips))][::-1]  # finest first
        self.up = nn.ModuleList(
            nn.Sequential(nn.Conv2d(coarse, 4 * fine, 1), nn.PixelShuffle(2))
            for fine, coarse in pairwise(widths)
        )
        self.join = nn.ModuleList(
            ResidualBlock(fine + skip, fine) for fine, skip in zip(widths[:-1], skips)
        )
        self.out = nn.Conv2d(widths[0], out_chans, 3, padding=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        *skips, x = maps
        for up, join, skip in reversed(list(zip(self.up, self.join, skips))):
            x = join(concatenate(up(x), skip))
        return self.out(x)
