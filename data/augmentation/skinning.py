"""Arms and legs turned about their joints, their pixels carried along by the bones.

Linear blend skinning of the foreground: every pixel belongs to the rigid parts of the body near it
by weights that sum to one; each part is turned as a whole, and the parts are added up before the
background. Dimensions: n frames, C colors, H×W picture, J joints, K parts: the trunk,
which stays, and an upper and a lower one of every limb.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from core.transfer import send
from data.pose.rendering import pixel_centers
from data.pose.skeleton import JOINT, SIDES
from data.warp import OPAQUE

# Joints of a limb from the one that it turns about to the loose end.
CHAINS = tuple(
    tuple(JOINT[f"{name}_{side}"] for name in names)
    for side in SIDES
    for names in (("shoulder", "elbow", "wrist", "hand"), ("hip", "knee", "ankle", "toe"))
)
_TRUNK = (("neck", "mid_hip"), ("neck", "nose"), ("shoulder_right", "shoulder_left"),
          ("hip_right", "hip_left"))  # fmt: skip
# Bones (from, to), of the trunk and then three of every limb, the first of which is its upper part.
BONES = torch.tensor(
    [[JOINT[start], JOINT[end]] for start, end in _TRUNK]
    + [list(bone) for chain in CHAINS for bone in zip(chain, chain[1:])]
)
# How far a part reaches from its bones, as a share of the length of the spine.
TRUNK_REACH, LIMB_REACH = 0.30, 0.14
SOFTNESS = 0.6  # pixels over which one part gives way to the next


@dataclass(frozen=True)
class Turn:
    """A turn of the limbs in n frames of one size.

    places (n, J, 2): the joints afterwards, in pixels; weights (n, K, H, W): how much of a pixel
    goes with each part; grid (n, K - 1, H, W, 2): where a turned part is taken from.
    """

    places: Tensor
    weights: Tensor
    grid: Tensor

    @classmethod
    def of(cls, angles: Tensor, joints: Tensor, size: tuple[int, int]) -> "Turn":
        """Turn joints (n, J, 2) in pixels of a picture of `size` (H, W).

        angles (n, len(CHAINS), 2), in radians: of an upper and a lower bone.
        """
        chains = send(torch.tensor(CHAINS), joints.device)
        limbs = joints[:, chains]  # (n, chains, 4, 2)
        first, middle = limbs[..., 0, :], limbs[..., 1, :]  # what turns, before
        upper, both = angles[..., 0], angles.sum(-1)
        elbow = first + _turned(middle - first, upper)
        ends = elbow[..., None, :] + _turned(limbs[..., 2:, :] - middle[..., None, :], both)
        places = joints.clone()
        places[:, chains[:, 1]] = elbow
        places[:, chains[:, 2:]] = ends

        points = pixel_centers(*size, joints.device)
        pivots = torch.stack([first, middle], dim=2).flatten(1, 2)  # (n, K - 1, 2)
        moved = torch.stack([first, elbow], dim=2).flatten(1, 2)
        by = torch.stack([upper, both], dim=2).flatten(1, 2)
        source = _turned(points - moved[..., None, None, :], -by) + pivots[..., None, None, :]
        pixels = send(torch.tensor(size[::-1], dtype=source.dtype), source.device)
        grid = 2 * source / pixels - 1
        return cls(places, _weights(joints, points), grid)

    def frames(self, frames: Tensor, background: Tensor) -> Tensor:
        """Turn the limbs of the foreground: (n, C, H, W) → the same."""
        C = frames.shape[1]
        difference = frames - background
        opacity = (difference.abs().amax(dim=1, keepdim=True) / OPAQUE).clamp_(max=1)
        solid = torch.cat([opacity * frames, opacity], dim=1)[:, None]  # (n, 1, C + 1, H, W)
        parts = self.weights[:, :, None] * solid
        layers = parts[:, 1:].flatten(0, 1)
        turned = grid_sample(layers, self.grid.flatten(0, 1), align_corners=False)
        total = parts[:, 0] + turned.unflatten(0, self.grid.shape[:2]).sum(1)
        cover = total[:, C:]
        brought = total[:, :C] / cover.clamp(min=1)
        # What is not opaque, such as a shadow, stays, but where a limb comes to lie over it.
        shadow = (1 - opacity) * difference * (1 - (cover - opacity).clamp(0, 1))
        return (brought + (1 - cover.clamp(max=1)) * background + shadow).clamp_(0, 1)


def _weights(joints: Tensor, points: Tensor) -> Tensor:
    """How much of each of the points (H, W, 2) goes with each part: (n, K, H, W)."""
    bones = send(BONES, joints.device)
    start, end = joints[:, bones, None, None].unbind(2)  # (n, bones, 1, 1, 2)
    along = end - start
    offset = points - start
    t = (offset * along).sum(-1) / along.square().sum(-1).clamp(min=1e-6)
    distance = (offset - t.clamp(0, 1)[..., None] * along).norm(dim=-1)  # (n, bones, H, W)
    spine = (joints[:, JOINT["neck"]] - joints[:, JOINT["mid_hip"]]).norm(dim=-1)
    spine = spine[:, None, None, None]
    trunk = distance[:, : len(_TRUNK)].amin(1, keepdim=True) - TRUNK_REACH * spine
    limbs = distance[:, len(_TRUNK) :].unflatten(1, (len(CHAINS), 3))
    parts = torch.stack([limbs[:, :, 0], limbs[:, :, 1:].amin(2)], dim=2).flatten(1, 2)
    return (torch.cat([trunk, parts - LIMB_REACH * spine], dim=1) / -SOFTNESS).softmax(1)


def _turned(vectors: Tensor, angle: Tensor) -> Tensor:
    """Turn vectors (…, 2) by an angle of as many or fewer leading dimensions."""
    angle = angle[(..., *[None] * (vectors.dim() - 1 - angle.dim()))]
    x, y = vectors.unbind(-1)
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1)
