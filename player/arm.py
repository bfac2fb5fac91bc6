"""The arm of the robot as the data have it: how far a command moves it, and where it may be.

A condition is K = 7 numbers: the command (x, y, z, gripper), and the place (x, y, z) of the end
effector when it was given.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RAISED, LOWERED = 0.8, 0.1  # shares of the height
HELD_OFF = 1e-6  # a command that hardly moves the arm teaches nothing


@dataclass(frozen=True)
class Reach:
    """What commands do, per axis (x, y, z): in the units of the data."""

    step: np.ndarray  # (3,) how far a command of 1 moves the end effector in a frame
    strongest: np.ndarray  # (3,) the largest command, either way
    low: np.ndarray  # (3,) where it may be
    high: np.ndarray  # (3,)
    grips: tuple[float, float]  # the commands of a closed and of an open gripper
    seen_low: np.ndarray  # (2,) the place in the upper left corner of the picture …
    seen_high: np.ndarray  # (2,) … and in the lower right one


def reach_of(recordings: Sequence[np.ndarray]) -> Reach:
    """Learn from conditions (T, K) of whole sequences how the arm obeys.

    Least squares of the move between two frames on the command between them, per axis. How the
    camera sees it is not in the data: the picture is taken for the box in which the arm moves.
    """
    pairs = [
        (conditions[1:-1, :3], conditions[2:, 4:] - conditions[1:-1, 4:])
        for conditions in recordings
        if len(conditions) > 2
    ]
    everything = np.concatenate([conditions[1:] for conditions in recordings]).astype(float)
    commands, places = everything[:, :4], everything[:, 4:]
    step = np.zeros(3)
    if pairs:
        given, moved = (np.concatenate(parts).astype(float) for parts in zip(*pairs))
        strength = (given**2).sum(axis=0)
        step = np.where(strength > HELD_OFF, (given * moved).sum(axis=0) / (strength + HELD_OFF), 0)
    return Reach(
        step,
        np.abs(commands[:, :3]).max(axis=0),
        places.min(axis=0),
        places.max(axis=0),
        (float(commands[:, 3].min()), float(commands[:, 3].max())),
        places.min(axis=0)[:2],
        places.max(axis=0)[:2],
    )


class Arm:
    """An end effector that goes where it is sent, as fast as the data's commands let it."""

    def __init__(self, reach: Reach, hand: np.ndarray, grip: float):
        self.reach = reach
        self.hand = np.asarray(hand, float).copy()
        self.target = self.hand.copy()
        self.grip = grip

    def aim(self, share: np.ndarray) -> None:
        """Send it to a place in the picture, in shares: x to the right and y down."""
        low, high = self.reach.seen_low, self.reach.seen_high
        place = low + share * (high - low)
        self.target[:2] = np.clip(place, self.reach.low[:2], self.reach.high[:2])

    def raise_to(self, share: float) -> None:
        """Send it to a height, in shares of its reach."""
        low, high = self.reach.low[2], self.reach.high[2]
        self.target[2] = low + np.clip(share, 0, 1) * (high - low)

    def hold(self, open_: bool) -> None:
        self.grip = self.reach.grips[open_]

    def advance(self) -> np.ndarray:
        """Move on by a frame; return the condition of the frame to come, (K,) float32."""
        step, strongest = self.reach.step, self.reach.strongest
        obeys = np.abs(step) > 1e-9
        wanted = np.divide(self.target - self.hand, step, out=np.zeros(3), where=obeys)
        command = np.clip(wanted, -strongest, strongest)
        condition = np.array([*command, self.grip, *self.hand], np.float32)
        self.hand = np.clip(self.hand + step * command, self.reach.low, self.reach.high)
        return condition

    def shares(self) -> np.ndarray:
        """Hand and target (x, y, z): places in shares of the picture, heights of the reach."""
        reach = self.reach
        low = np.append(reach.seen_low, reach.low[2])
        size = np.append(reach.seen_high, reach.high[2]) - low
        places = (np.stack([self.hand, self.target]) - low) / np.maximum(size, 1e-9)
        return np.append(places, self.grip).astype(np.float32)
