"""What a page is told when it opens: what it sees, what there is to start from, how to draw it."""

from collections.abc import Sequence
from typing import Any

from data.pose.colors import LIMBS, NOSE_LIMB
from data.pose.skeleton import JOINT
from engine.checkpoints.checkpoint import DEMO
from player.body import HANDLES, MOVES
from player.model import PlayedModel
from player.recording import KINDS, MOST_FRAMES
from player.starts import DanceStart, RobotStart
from player.worlds import SAMPLES

MEMORY_SECONDS = 30


def hello(
    played: PlayedModel, starts: Sequence[DanceStart | RobotStart], *, own_data: bool
) -> dict[str, Any]:
    """Return the first message of a session, as plain types. own_data: starts come from `--DR`."""
    dance = played.kind == "dance"
    said = {
        "kind": played.kind,
        "about": played.about,
        "note": _note(played, own_data),
        "height": played.height,
        "width": played.width,
        "samples": 1 if dance else SAMPLES,
        "starts": [start.name for start in starts],
        "memory": MEMORY_SECONDS,
        "longest": MOST_FRAMES,
        "files": list(KINDS),
    }
    if dance:
        limbs = (*LIMBS, NOSE_LIMB)
        said |= {
            "moves": list(MOVES),
            "handles": [[name, JOINT[name]] for name in HANDLES],
            "limbs": [[JOINT[start], JOINT[end], list(color)] for start, end, color in limbs],
        }
    return said


def _note(played: PlayedModel, own_data: bool) -> str:
    """Warn where what is seen first is not what the model has learned."""
    if own_data or played.trained_on == DEMO:
        return ""
    what = "room" if played.kind == "dance" else "table"
    return (
        f"This first frame is the demo's: the {what} that the model has learned is another. "
        "Start with --DR and the data it was trained on."
    )
