"""Joints from pose images: a skeleton fitted to its thin colored lines, many images at once.

1. Every inked pixel is shared out among the limbs of its color; a joint may lie where the ink of
   its limbs meets.
2. Of these places, those are chosen whose limbs lie on their ink, by dynamic programming.
3. From there, damped Gauss-Newton (`data/pose/refinement.py`).

Dimensions: N images, P pixels with ink or beside it, J joints, L limbs, C places for a joint.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from data.pose.colors import ALL_LIMBS
from data.pose.refinement import Pixels, Skeletons, refine
from data.pose.rendering import (
    COURSE_STYLE,
    DEMO_STYLE,
    ENDS,
    JOINT_LIMBS,
    LineStyle,
    coverage,
    pixel_centers,
)
from data.pose.skeleton import SIDES

INK = 0.03  # of 1: what is darker than white by less is white
MOST_ROWS = 64  # of an image; in a larger one a limb has more pixels than a fit looks at
MOST_PIXELS = 320  # of an image of 32×64; more than the limbs of one person take
TOGETHER = 512  # images at a time
COLOR_SHARPNESS = 250.0  # how sharply colors tell limbs apart
MEETING = 1.2  # pixels around a joint in which its limbs are looked for
CANDIDATES, APART = 10, 1.4  # places tried for a joint, and pixels between them
SAMPLED = (0.1, 0.3, 0.5, 0.7, 0.9)  # of a limb's length: where its ink is looked for
EMPTY = 0.45  # ink of a line below which a limb rather does not run there
TOO_LONG = 2.0
UNARY = 0.5  # pixels of a limb's length that a joint's own likelihood weighs
STYLE_IMAGES = 120  # the style is found from
SWEEPS, POOR = 4, 0.02  # fits with a residual above it are begun again from their neighbors'
FAINT = 0.35  # of a line's ink: a limb that explains less is not there

USUAL = {
    **{"mid_hip": 1.0, "shoulder": 0.42, "elbow": 0.6, "wrist": 0.52, "hand": 0.3, "hip": 0.22},
    **{"knee": 0.85, "ankle": 0.86, "toe": 0.4, "nose": 0.45, "eye": 0.15, "ear": 0.2},
}  # lengths of limbs by the joint at their end, of the spine's
USUAL_LENGTH = [
    next(r for joint, r in USUAL.items() if end.startswith(joint)) for _, end, _ in ALL_LIMBS
]
LIMB_TO = {end: limb for limb, (_, end, _) in enumerate(ALL_LIMBS)}
SIZED_BY = [((LIMB_TO[f"knee_{side}"], LIMB_TO[f"ankle_{side}"]), 1.7) for side in SIDES] + [
    ((LIMB_TO[f"wrist_{side}"],), 0.6) for side in SIDES
]


def fit_joints(images: Tensor | np.ndarray, style: LineStyle | None = None) -> Skeletons:
    """Fit a skeleton to each of N pose images (N, H, W, 3) uint8 on white.

    style: by default that of `find_style`. Where the residual is large, the fits of the images
    before and after are tried as a beginning. Large images are fitted in a smaller size.
    """
    images = torch.as_tensor(images)
    H, W = images.shape[1:3]
    if H > MOST_ROWS:
        size = MOST_ROWS, round(W * MOST_ROWS / H)
        found = fit_joints(_resized(images, *size), style)
        return found._replace(places=found.places * torch.tensor([W / size[1], H / size[0]]))
    style = style or find_style(images)
    ink = (images.amin(-1) < 255 * (1 - INK)).flatten(1).sum(1)
    order = ink.argsort()  # images with as many pixels together
    parts = [_fit(images[some], style) for some in order.split(TOGETHER)]
    back = order.argsort()
    found = Skeletons(*(torch.cat(values)[back] for values in zip(*parts)))
    for sweep in range(SWEEPS):
        worse = max(POOR, 1.5 * float(found.residual.median()))
        poor = (found.residual > worse).nonzero()[:, 0]
        poor = poor[ink[poor].argsort()]
        for some in poor.split(TOGETHER) if len(poor) else ():
            other = (some + (1, -1)[sweep % 2]).clamp(0, len(images) - 1)
            again = _refit(images[some], found.places[other], found.shown[some], style)
            better = again.residual < found.residual[some]
            for values, new in zip(found, again):
                values[some[better]] = new[better]
    return found


def find_style(images: Tensor | np.ndarray) -> LineStyle:
    """Return how the lines of pose images (N, H, W, 3) look: the demo's way or the course's.

    The colors are then those that explain the images best, by least squares.
    """
    images = torch.as_tensor(images)
    some = torch.linspace(0, len(images) - 1, min(len(images), STYLE_IMAGES)).long()
    images = images[some]
    images = images[(images.amin(-1) < 255 * (1 - INK)).flatten(1).any(1)]
    if len(images) == 0:
        return DEMO_STYLE
    fits = [(fit_joints(images, style), style) for style in (DEMO_STYLE, COURSE_STYLE)]
    found, style = min(fits, key=lambda pair: float(pair[0].residual.median()))
    return _recolored(style, images, found)


def _recolored(style: LineStyle, images: Tensor, found: Skeletons) -> LineStyle:
    """Return the style with the colors that the better half of the fits explains best."""
    H, W = images.shape[1:3]
    well = found.residual <= found.residual.median()
    grid = pixel_centers(H, W, images.device).flatten(0, 1)
    ends = found.places[well][:, ENDS][:, :, None]
    ink = coverage(grid, ends, style.width * H, style.blur) * found.shown[well][..., None]
    A = ink.transpose(1, 2).flatten(0, 1)  # (n·H·W, L)
    dark = 1 - images[well].flatten(0, 2) / 255
    normal = A.T @ A
    trust = 0.03 * normal.diagonal().mean()  # in the colors of the table
    right = A.T @ dark + trust * (1 - style.colors)
    colors = 1 - torch.linalg.solve(normal + trust * torch.eye(len(normal)), right)
    return style._replace(colors=colors.clamp(-0.6, 0.98))


def _resized(images: Tensor, height: int, width: int) -> Tensor:
    """Return images (N, H, W, 3) uint8 in a smaller size, by averages."""
    parts = images.permute(0, 3, 1, 2).split(TOGETHER)
    smaller = [interpolate(part.float(), (height, width), mode="area") for part in parts]
    return torch.cat([part.round().byte() for part in smaller]).permute(0, 2, 3, 1)


def _refit(images: Tensor, places: Tensor, shown: Tensor, style: LineStyle) -> Skeletons:
    return refine(places, shown, _pixels(images), style, *images.shape[1:3])


def _fit(images: Tensor, style: LineStyle) -> Skeletons:
    pixels = _pixels(images)
    line = style.width * images.shape[1]
    likely = _limb_ink(pixels, style) / line  # (N, P, L)
    shown = likely.sum(1) > FAINT
    candidates, unary = _candidates(pixels, likely)
    density = _density(pixels, likely, images.shape[1:3])
    size = _spine_length(likely.sum(1), images.shape[1])
    places = _best_tree(candidates, unary, density, size, images.shape[2])
    return refine(places, shown, pixels, style, *images.shape[1:3])


def _pixels(images: Tensor) -> Pixels:
    H, W = images.shape[1:3]
    colors = images.float().div(255)  # (N, H, W, 3)
    dark = (1 - colors).amax(-1)
    inked = (dark > INK).float()
    near = torch.nn.functional.max_pool2d(inked[:, None], 3, stride=1, padding=1)[:, 0]
    order = (dark + 2 * inked + near).flatten(1).argsort(dim=1, descending=True)
    most = int(near.flatten(1).sum(1).max().clamp(1, min(MOST_PIXELS, H * W)))
    order = order[:, :most]
    points = torch.stack([order % W, order // W], dim=-1) + 0.5
    valid = near.flatten(1).gather(1, order)
    colors = colors.flatten(1, 2).gather(1, order[..., None].expand(-1, -1, 3))
    ink = (1 - colors).square().sum(-1).sqrt() * valid
    return Pixels(points, colors, valid, ink)


def _limb_ink(pixels: Pixels, style: LineStyle) -> Tensor:
    """Ink of every pixel that has the color of a limb: (N, P, L), in pixels of full ink."""
    full = 1 - style.colors  # (L, 3)
    strength = full.norm(dim=-1)
    towards = (1 - pixels.colors) @ (full / strength[:, None]).T  # (N, P, L)
    angle = 1 - towards / pixels.ink.clamp(min=1e-6)[..., None]
    inked = pixels.ink * (pixels.ink > INK)
    return torch.exp(-COLOR_SHARPNESS * angle) * (inked[..., None] / strength)


def _candidates(pixels: Pixels, likely: Tensor) -> tuple[Tensor, Tensor]:
    """Return places where each joint may be (N, J, C, 2), and how likely they are (N, J, C)."""
    inked = max(1, int((pixels.ink > INK).sum(1).max()))  # they come first
    points, likely = pixels.points[:, :inked], likely[:, :inked]
    squared = torch.cdist(points, points).square()
    around = torch.exp(squared / (-2 * MEETING**2)) @ likely  # (N, P, L): ink near a pixel
    log = (around + 0.1).log()
    limbs = JOINT_LIMBS.to(points)
    score = (log @ limbs.T) / limbs.sum(1)  # (N, P, J): a geometric mean
    score = score.masked_fill(pixels.valid[:, :inked, None] == 0, -9).transpose(1, 2)  # (N, J, P)
    chosen, values = [], []
    for _ in range(CANDIDATES):
        value, best = score.max(-1)  # (N, J)
        chosen.append(best)
        values.append(value)
        near = squared.gather(1, best[..., None].expand(-1, -1, inked)) < APART**2
        score = score.masked_fill(near, -9)
    chosen = torch.stack(chosen, dim=-1)  # (N, J, C)
    N, J, C = chosen.shape
    places = points.gather(1, chosen.flatten(1)[..., None].expand(-1, -1, 2))
    return places.view(N, J, C, 2), torch.stack(values, dim=-1)


def _density(pixels: Pixels, likely: Tensor, size: tuple[int, int]) -> Tensor:
    """Ink of each limb's color around every pixel: (N, L, H·W)."""
    H, W = size
    N, _, L = likely.shape
    at = pixels.points.long()
    at = (at[..., 1] * W + at[..., 0])[:, None].expand(-1, L, -1)
    maps = likely.new_zeros(N, L, H * W).scatter_add_(2, at, likely.transpose(1, 2))
    sums = torch.nn.functional.avg_pool2d(maps.view(N, L, H, W), 3, stride=1, padding=1)
    return (3 * sums).flatten(2)  # of a straight line, 1


def _spine_length(amounts: Tensor, height: int) -> Tensor:
    """Guess the length of the spine from the ink of legs and forearms (N, L), in pixels: (N,)."""
    guesses = [amounts[:, list(limbs)].sum(1) / usual for limbs, usual in SIZED_BY]
    size = torch.stack(guesses).amax(0)  # what points at the camera looks shorter
    return torch.where(size < 2, height, size.clamp(max=height))


def _best_tree(
    candidates: Tensor, unary: Tensor, density: Tensor, size: Tensor, width: int
) -> Tensor:
    """Choose a candidate for every joint so that the limbs between them lie on their ink.

    Dynamic programming over the tree of limbs, as in pictorial structures (Felzenszwalb and
    Huttenlocher 2005). Returns (N, J, 2).
    """
    N, J, C, _ = candidates.shape
    gain = UNARY * unary.clone()
    backwards = []
    for limb, (start, end) in reversed(list(enumerate(ENDS.tolist()))):
        one, other = candidates[:, start, :, None], candidates[:, end, None]  # (N, C, C, 2)
        length = (other - one).norm(dim=-1)
        seen = 0
        for share in SAMPLED:
            at = (one + share * (other - one)).long()
            at = (at[..., 1] * width + at[..., 0]).flatten(1)
            seen = seen + density[:, limb].gather(1, at).clamp(max=1).view(N, C, C)
        usual = USUAL_LENGTH[limb] * size[:, None, None]
        value = (seen / len(SAMPLED) - EMPTY) * length.minimum(1.1 * usual)
        value = value - TOO_LONG * (length - 1.3 * usual).clamp(min=0) + gain[:, end, None]
        best, which = value.max(-1)
        gain[:, start] += best
        backwards.append((start, end, which))
    chosen = torch.zeros(N, J, dtype=torch.long)
    chosen[:, 0] = gain[:, 0].argmax(-1)
    for start, end, which in reversed(backwards):
        chosen[:, end] = which.gather(1, chosen[:, start, None])[:, 0]
    return candidates.gather(2, chosen[..., None, None].expand(-1, -1, 1, 2))[:, :, 0]
