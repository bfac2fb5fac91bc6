"""What does a model predict of people nearer and farther than any that it was trained on?

`python -m benchmarks.scaled_people --DR ROOT --ckpt_path RUN …` scales the person of the holdout of
trained runs by 0.6 to 2.5, up and down over 180 frames, before the still background, renders the
poses anew without the limbs whose joints leave the picture, rolls the result out from its first
frame, and prints a Markdown table of the PSNR by scale. The frames are made as `--zoom_prob` makes
those of training: the table compares models, and says less of people who were filmed near.
"""

import argparse
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks import dance_models as models
from core.errors import exit_on_user_error
from data.augmentation.reposing import DOUBTFUL, SCALES
from data.augmentation.skeletons import fitted_poses
from data.augmentation.zoom import Zoom
from data.pose.rendering import ends_inside, limb_centers, render
from data.types import Clip, to_float
from data.warp import median_background

PERIOD = 180  # frames
PERSON = 40 / 255  # difference from the background
LEVEL = 0.45  # of the height: the row that people grow about
SOFT = 41  # frames over which a person who cannot be scaled is left as they are
BANDS = {"below 0.8": (0, 0.8), "0.8 to 1.3": (0.8, 1.3), "1.3 to 1.8": (1.3, 1.8),
         "above 1.8": (1.8, np.inf)}  # fmt: skip


class Scaled(NamedTuple):
    """The holdout with the person scaled; scale (T,) of every frame, NaN where it is as filmed."""

    clip: Clip
    scale: np.ndarray


def scaled_holdout(model: models.DanceModel) -> Scaled:
    """Scale the person of the holdout of a model."""
    data, settings = model.data, model.settings
    clip = model.holdout()
    background = torch.from_numpy(median_background(*data.training_frames()) / 255)
    background = background.permute(2, 0, 1)
    first = int(np.searchsorted(data.train.numbers, settings.holdout[0]))
    skeletons, style = fitted_poses(data.train.poses, settings)
    places, shown, residual = (values[first : first + len(clip)] for values in skeletons)

    frames = to_float(clip.frames)
    seen = (frames - background).abs().amax(1) > PERSON  # (T, H, W)
    cut = seen[:, :, 0].any(1) | seen[:, :, -1].any(1)
    scale, left = _scales(len(clip), (cut | (residual > DOUBTFUL)).numpy())

    H, W = background.shape[-2:]
    center = torch.stack([_middle(places, shown) / W, torch.full((len(clip),), LEVEL)], dim=1)
    zoom = Zoom(torch.from_numpy(scale).float(), center)
    pictures = zoom.frames(frames, background)
    moved = zoom.places(places, (H, W))
    poses = render(moved, shown & ends_inside(moved, H, W), H, W, style)
    pictures, poses = ((255 * x).round().byte() for x in (pictures, poses))
    asis = torch.from_numpy(np.abs(scale - 1) < 0.02)
    poses[asis] = clip.conditions[asis]
    return Scaled(Clip("scaled", pictures, poses), np.where(left, np.nan, scale))


def _scales(frames: int, left: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the scale of every frame, near 1 around those that are `left` as filmed, and these."""
    low, high = np.log(SCALES)
    swing = np.sin(2 * np.pi * np.arange(frames) / PERIOD - 0.9)
    half = SOFT // 2
    near = np.convolve(np.pad(left.astype(float), half, mode="edge"), np.ones(SOFT) / SOFT, "valid")
    much = 1 - np.clip(3 * near, 0, 1)
    return np.exp(much * ((low + high) / 2 + (high - low) / 2 * swing)), left


def _middle(places: Tensor, shown: Tensor) -> Tensor:
    """Where each person is across, smoothed over time: (T,) pixels."""
    across = limb_centers(places, shown)[None, None, :, 0]
    padded = torch.nn.functional.pad(across, (7, 7), mode="replicate")
    return torch.nn.functional.avg_pool1d(padded, 15, stride=1)[0, 0]


@exit_on_user_error
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--DR", required=True, help="dataset folder")
    parser.add_argument("--ckpt_path", nargs="+", required=True, help="trained models")
    given = parser.parse_args()
    rows = []
    for path in given.ckpt_path:
        model = models.DanceModel(path, given.DR)
        scaled = scaled_holdout(model)
        found, scale = model.scores([scaled.clip])[0], scaled.scale[1:]
        bands = [(scale >= low) & (scale < high) for low, high in BANDS.values()]
        rows.append([path, *(float(found[here].mean()) for here in bands if here.any())])
    print("\nPSNR in dB of the holdout with the person scaled\n")
    print(models.markdown(["model", *BANDS], rows))


if __name__ == "__main__":
    main()
