"""The bones of the skeleton: what hangs on what, and a body with other lengths.

Dimensions: J joints; places may be in the world or in a picture, in any unit.
"""

import numpy as np

from data.pose.skeleton import HEAD_JOINTS, JOINT, JOINTS, SIDES

# From the mid-hip outwards; every joint stands after the one that it hangs on.
PARENT = {
    "neck": "mid_hip",
    **dict.fromkeys(HEAD_JOINTS, "neck"),
    **{
        f"{joint}_{side}": parent if parent in ("neck", "mid_hip") else f"{parent}_{side}"
        for side in SIDES
        for joint, parent in {
            **{"shoulder": "neck", "elbow": "shoulder", "wrist": "elbow", "hand": "wrist"},
            **{"hip": "mid_hip", "knee": "hip", "ankle": "knee", "heel": "ankle", "toe": "ankle"},
        }.items()
    },
}
BONES = tuple((JOINT[joint], JOINT[parent]) for joint, parent in PARENT.items())
# Bones of one length: both sides of the body, and the face as a whole.
KIND = {
    joint: "head" if joint in HEAD_JOINTS else joint.removesuffix("_right").removesuffix("_left")
    for joint in PARENT
}
KINDS = tuple(dict.fromkeys(KIND.values()))


def resized(places, factors):
    """Lengthen the bones of bodies (…, J, D); what hangs on a bone moves along.

    factors: by kind of bone; 1 where it is not named. A bone with an unknown end (NaN) stays.
    """
    moved = np.zeros_like(places)
    for joint, parent in BONES:
        factor = factors.get(KIND[JOINTS[joint]], 1.0)
        longer = (factor - 1) * (places[..., joint, :] - places[..., parent, :])
        moved[..., joint, :] = moved[..., parent, :] + np.nan_to_num(longer)
    return places + moved
