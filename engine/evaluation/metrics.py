"""Picture quality: PSNR and SSIM by frame, on uint8 frames as the submission holds them.

Frames are (T, 3, H, W) uint8; the data range is 255. So many pixels are looked at together that
the memory is bounded, however long a clip is and however large its frames.
"""

from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor
from torch.nn.functional import conv2d, mse_loss

PSNR_CAP = 100.0  # dB; identical frames have infinite PSNR, which no mean survives
KAGGLE_FRAMES = slice(1, 601)  # of a sequence, which the lab scores (docs/lab.md)
KAGGLE_PUBLIC = 3  # sequences; the rest are private
PIXELS_TOGETHER = 1 << 21


def some_at_a_time(metric: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Have a metric by frame compute on some frames at a time."""

    @wraps(metric)
    def in_parts(*clips: Tensor) -> Tensor:
        frames = max(1, PIXELS_TOGETHER // (clips[0].shape[2] * clips[0].shape[3]))
        return torch.cat([metric(*parts) for parts in zip(*(x.split(frames) for x in clips))])

    return in_parts


def Generate_PSNR(imgs1: Tensor, imgs2: Tensor, data_range: float = 1.0) -> Tensor:
    """PSNR in dB of two tensors of one shape, over all their elements at once (the lab's).

    A batch gives the PSNR of its mean squared error, which is not the mean PSNR of its frames;
    see `psnr_by_frame`. Identical tensors give infinity.
    """
    return 20 * torch.log10(torch.as_tensor(data_range)) - 10 * torch.log10(mse_loss(imgs1, imgs2))


@some_at_a_time
def psnr_by_frame(predicted: Tensor, true: Tensor) -> Tensor:
    """PSNR of each frame in dB, capped at 100: two (T, 3, H, W) uint8 → (T,) float32."""
    mse = mse_by_frame(predicted, true)
    return (20 * torch.log10(torch.tensor(255.0)) - 10 * torch.log10(mse)).clamp(max=PSNR_CAP)


@some_at_a_time
def mse_by_frame(predicted: Tensor, true: Tensor) -> Tensor:
    """Mean squared error of each frame in gray levels²: two (T, 3, H, W) uint8 → (T,) float32."""
    return (predicted.float() - true.float()).square().mean(dim=(1, 2, 3))


@some_at_a_time
def detail_by_frame(frames: Tensor) -> Tensor:
    """How much detail each frame holds: (T, 3, H, W) uint8 → (T,) float32, in gray levels.

    The mean absolute difference of neighboring pixels, across and down. Blur lowers it, noise
    raises it; a prediction's divided by the truth's is its sharpness, best at 1.
    """
    x = frames.float()
    across, down = x.diff(dim=3).abs(), x.diff(dim=2).abs()
    return across.mean(dim=(1, 2, 3)) + down.mean(dim=(1, 2, 3))


@some_at_a_time
def ssim_by_frame(predicted: Tensor, true: Tensor) -> Tensor:
    """SSIM of each frame, mean of the colors: two (T, 3, H, W) uint8 → (T,) float32.

    Wang et al. 2004: Gaussian window 11×11 with σ = 1.5, K1 = 0.01, K2 = 0.03, population
    covariance; windows that leave the picture are not counted.
    """
    x, y = predicted.double(), true.double()  # float32 loses the variance of flat regions
    offsets = torch.arange(11, dtype=x.dtype, device=x.device) - 5
    window = torch.exp(-offsets.square() / (2 * 1.5**2))
    window /= window.sum()

    def blur(image: Tensor) -> Tensor:  # (T, 3, H, W) → (T, 3, H-10, W-10)
        flat = image.flatten(0, 1)[:, None]
        flat = conv2d(conv2d(flat, window.view(1, 1, 11, 1)), window.view(1, 1, 1, 11))
        return flat[:, 0].unflatten(0, image.shape[:2])

    mean_x, mean_y = blur(x), blur(y)
    var_x = blur(x * x) - mean_x.square()
    var_y = blur(y * y) - mean_y.square()
    covariance = blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x.square() + mean_y.square() + c1)
    structure = (2 * covariance + c2) / (var_x + var_y + c2)
    return (luminance * structure).mean(dim=(1, 2, 3)).float()
