"""The five networks of the lab, each an `nn.Sequential` whose indices are checkpoint keys.

Shapes: B batch, H×W frame size; F frame features, L pose features, N latent channels,
D fused features. Every network works at full resolution.
"""

from torch import Tensor, nn

from modules.gaussian import reparameterize
from modules.layers import DepthConvBlock, ResidualBlock, concatenate


class RGB_Encoder(nn.Sequential):
    """Frame features: (B, in_chans, H, W) → (B, F, H, W)."""

    def __init__(self, in_chans: int, out_chans: int):
        F = out_chans
        super().__init__(
            ResidualBlock(in_chans, F // 8),
            DepthConvBlock(F // 8, F // 8),
            ResidualBlock(F // 8, F // 4),
            DepthConvBlock(F // 4, F // 4),
            ResidualBlock(F // 4, F // 2),
            DepthConvBlock(F // 2, F // 2),
            nn.Conv2d(F // 2, F, 3, padding=1),
        )


class Label_Encoder(nn.Sequential):
    """Pose features: (B, in_chans, H, W) → (B, L, H, W)."""

    def __init__(self, in_chans: int, out_chans: int):
        L = out_chans
        super().__init__(
            nn.ReflectionPad2d(3),
            nn.Conv2d(in_chans, L // 2, 7),
            nn.BatchNorm2d(L // 2),
            nn.LeakyReLU(1.0),  # slope 1 is the identity; checkpoints count its index
            ResidualBlock(L // 2, L),
        )


class Gaussian_Predictor(nn.Sequential):
    """The posterior q(z | x_t, P_t): features of the current frame and pose → (z, mu, logvar)."""

    def __init__(self, in_chans: int, out_chans: int):
        N = out_chans
        super().__init__(
            ResidualBlock(in_chans, N // 4),
            DepthConvBlock(N // 4, N // 4),
            ResidualBlock(N // 4, N // 2),
            DepthConvBlock(N // 2, N // 2),
            ResidualBlock(N // 2, N),
            nn.LeakyReLU(1.0),  # identity, as above
            nn.Conv2d(N, 2 * N, 1),
        )

    reparameterize = staticmethod(reparameterize)

    def forward(
        self, frame_feature: Tensor, label_feature: Tensor, noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Encode (B, F, H, W) and (B, L, H, W); each result is (B, N, H, W).

        `noise` is a standard normal sample of the same shape, drawn here where it is None.
        Mean and log variance leave in float32, also under autocast: the KL needs the range.
        """
        parameters = super().forward(concatenate(frame_feature, label_feature))
        mu, logvar = parameters.float().chunk(2, dim=1)
        return self.reparameterize(mu, logvar, noise), mu, logvar


class Decoder_Fusion(nn.Sequential):
    """Join frame features, pose features and latent: three maps → (B, D, H, W)."""

    def __init__(self, in_chans: int = 48, out_chans: int = 96):
        c, D = in_chans, out_chans
        super().__init__(
            DepthConvBlock(c, c),
            ResidualBlock(c, c // 4),
            DepthConvBlock(c // 4, c // 2),
            ResidualBlock(c // 2, c // 2),
            DepthConvBlock(c // 2, D // 2),
            nn.Conv2d(D // 2, D, 1),
        )

    def forward(self, frame_feature: Tensor, label_feature: Tensor, z: Tensor) -> Tensor:
        """Fuse (B, F, H, W), (B, L, H, W) and (B, N, H, W)."""
        z = z.to(frame_feature.dtype)  # one dtype for the concatenation under autocast
        return super().forward(concatenate(frame_feature, label_feature, z))


class Generator(nn.Sequential):
    """Generate the frame: (B, D, H, W) → (B, out_chans, H, W), before the output activation."""

    def __init__(self, in_chans: int, out_chans: int):
        D = in_chans
        super().__init__(
            DepthConvBlock(D, D),
            ResidualBlock(D, D // 2),
            DepthConvBlock(D // 2, D // 2),
            ResidualBlock(D // 2, D // 4),
            DepthConvBlock(D // 4, D // 4),
            ResidualBlock(D // 4, D // 8),
            DepthConvBlock(D // 8, D // 8),
            nn.Conv2d(D // 8, out_chans, 1),
        )
