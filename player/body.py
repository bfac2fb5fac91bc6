"""A body that is posed by hand: drag a joint, walk, or make a move.

Its posture is a row of the skeleton's channels at any time, so limbs keep their lengths and what
is drawn is what the demo could draw. Places in the picture are in pixels of the demo's camera.
"""

from collections import deque

import numpy as np

from data.pose import moves
from data.pose.camera import FOCAL, edge, project, ray
from data.pose.moves import COLUMN, STANDING, STRIDE, both
from data.pose.skeleton import (
    FOREARM,
    HAND,
    JOINT,
    SHANK,
    SIDES,
    SPINE,
    THIGH,
    UPPER_ARM,
    direction,
    horizontal,
    joints_of,
)
from player.inverse_kinematics import on_sphere, two_bones, within_reach

NEAREST, FARTHEST = 2.3, 6.6  # meters from the camera
PACE = 0.10  # meters a frame at most
TURNING = 9.0  # degrees a frame at most
SETTLE = 6  # frames in which legs begin and end to walk
BLEND = 15  # frames from a posture into a move
PULL = 0.06  # meters that a hand is out of reach before the body follows it
LIMBS = {
    "arm": ("shoulder", "elbow", "wrist", UPPER_ARM, FOREARM),
    "leg": ("hip", "knee", "ankle", THIGH, SHANK),
}
SEGMENTS = {"arm": ("arm", "forearm"), "leg": ("thigh", "shank")}  # their channels
# What is dragged at a joint: a limb's end, its middle, the head, the spine, or the whole body.
ENDS = {"wrist": "arm", "hand": "arm", "ankle": "leg", "heel": "leg", "toe": "leg"}
MIDDLES = {"elbow": "arm", "knee": "leg"}
HEAD, SPINE_END, TRUNK = ("nose", "eye", "ear"), ("neck", "shoulder"), ("mid_hip", "hip")
SEAT, SITS_ON = 0.1, [JOINT[name] for name in ("mid_hip", "neck", "nose")]  # meters
# Those with a handle in the page; nearest to the hand first where two lie together.
HANDLES = (
    *(f"{joint}_{side}" for joint in ("wrist", "ankle", "elbow", "knee") for side in SIDES),
    *("nose", "neck", "mid_hip"),
)


class Body:
    """Someone before the camera. `joints()` are (J, 3) in world meters."""

    def __init__(self, row: np.ndarray):
        self.row = np.array(row, float)  # as it is drawn
        self.base = self.row.copy()  # the posture that walking is added to
        self.lift = 0.0  # meters above the floor
        self.queue: deque[tuple[np.ndarray, float]] = deque()  # rows and lifts to come
        self.blend, self.before = 0, self.row  # frames left of the blend into a move, from where
        self.held: tuple[str, np.ndarray] | None = None  # the joint that is dragged, and where to
        self.posed: set[str] = set()  # limbs that somebody has posed
        self.goal = self._place()
        self.facing = self.row[COLUMN["heading"]]
        self.phase = self.amount = 0.0
        self.follows = False  # the body goes after a hand, without turning

    @classmethod
    def standing(cls, x: float = 0.0, z: float = 4.6) -> "Body":
        """Return one that stands and looks into the camera."""
        return cls(np.array(list((STANDING | {"x": x, "z": z}).values())))

    def joints(self) -> np.ndarray:
        joints = joints_of(self.row[None])[0]
        sunk = SEAT - joints[SITS_ON, 1].min()  # both feet in the air: sits, instead of sinking in
        joints[:, 1] += self.lift + max(0.0, sunk)
        return joints

    # ------------------------------------------------------------------ asked for

    def drag(self, joint: str, place: np.ndarray) -> None:
        """Hold a joint at a place in the picture, until `drop`."""
        self._stop_moving()
        self.held = (joint, np.asarray(place, float))

    def drop(self) -> None:
        """Let go: the posture stays."""
        self.held = None
        if self.follows:
            self.goal, self.follows = self._place(), False

    def come(self, meters: float) -> None:
        """Come so much nearer to the camera."""
        self._stop_moving()
        self.goal = self.goal - [0.0, meters]
        self._keep_goal_in_the_room()

    def follow(self, motion: np.ndarray) -> None:
        """Dance a motion (T, C), from where it begins."""
        self.__init__(motion[0])
        self.queue.extend((row, 0.0) for row in motion[1:])

    def move(self, name: str) -> None:
        """Make one of the MOVES, from the posture of now."""
        rows, lifts = MOVES[name](self.row)
        self._stop_moving()
        self.queue.extend(zip(rows, lifts))
        self.blend, self.before = BLEND, self.row.copy()

    # --------------------------------------------------------------------- a frame

    def advance(self) -> None:
        """Go on by one frame."""
        if self.queue:
            self._next_of_queue()
            return
        if self.held:
            self._reach(*self.held)
        self._walk()

    def _next_of_queue(self) -> None:
        row, self.lift = self.queue.popleft()
        if self.blend:
            share = moves.ease(self.blend / (BLEND + 1))
            turned = (self.before - row + 180) % 360 - 180  # the shorter way for every angle
            turned[[COLUMN["x"], COLUMN["z"]]] = 0
            row = row + share * turned
            self.blend -= 1
        self.row = row
        if not self.queue:
            self._rest()

    def _stop_moving(self) -> None:
        if self.queue:
            self.queue.clear()
            self._rest()
        self.lift = 0.0

    def _rest(self) -> None:
        """Take the posture of now for one's own, and stay where one is."""
        self.base, self.posed = self.row.copy(), set()
        self.goal, self.facing = self._place(), self.row[COLUMN["heading"]]
        self.phase = self.amount = 0.0
        self.lift, self.blend = 0.0, 0

    def _place(self) -> np.ndarray:
        return self.row[[COLUMN["x"], COLUMN["z"]]].copy()

    def _keep_goal_in_the_room(self) -> None:
        self.goal[1] = np.clip(self.goal[1], NEAREST, FARTHEST)
        aside = edge(self.goal[1]) + 0.3
        self.goal[0] = np.clip(self.goal[0], -aside, aside)

    def _walk(self) -> None:
        """Take a step towards the goal, or come to rest."""
        here = self._place()
        way = self.goal - here
        distance = float(np.hypot(*way))
        stride = min(distance, PACE, 0.35 * distance + 0.005)
        walks = distance > 0.02
        if walks:
            self.base[[COLUMN["x"], COLUMN["z"]]] = here + way / distance * stride
            self.phase += 2 * np.pi * stride / STRIDE
        self.amount = float(np.clip(self.amount + (1 if walks else -1) / SETTLE, 0, 1))
        heading = self.base[COLUMN["heading"]]
        towards = self.facing
        if walks and distance > 0.25 and not self.follows:
            towards = np.degrees(np.arctan2(way[0], -way[1]))
        turn = (towards - heading + 180) % 360 - 180
        self.base[COLUMN["heading"]] = heading + np.clip(turn, -TURNING, TURNING)
        self.row = self.base.copy()
        stepping = moves.steps(self.phase, min(1.0, stride / 0.05) * self.amount)
        for name, value in stepping.items():
            side, _, segment = name.partition("_")
            limb = "arm" if "arm" in segment else "leg"
            if f"{limb}_{side}" not in self.posed:
                column = COLUMN[name]
                self.row[column] += self.amount * (value - self.row[column])

    # ------------------------------------------------------------------- reaching

    def _reach(self, joint: str, place: np.ndarray) -> None:
        """Bring the joint that is held to its place in the picture, as near as it goes."""
        kind, _, side = joint.partition("_")
        joints = joints_of(self.row[None])[0]
        if kind in ENDS:
            self._reach_with_end(joints, kind, side, place)
        elif kind in MIDDLES:
            self._reach_with_middle(joints, kind, side, place)
        elif kind in SPINE_END:
            self._bend(joints, place)
        elif kind in HEAD:
            self._look(joints, place)
        else:
            self.goal = np.array([_beside(place, self._place()[1]), self.goal[1]])
            self._keep_goal_in_the_room()

    def _reach_with_end(self, joints: np.ndarray, kind: str, side: str, place: np.ndarray) -> None:
        limb = ENDS[kind]
        start_joint, middle, end, upper, lower = LIMBS[limb]
        lower += HAND if kind == "hand" else 0.0
        end = kind if kind == "hand" else end
        shift = project(joints[JOINT[f"{kind}_{side}"]]) - project(joints[JOINT[f"{end}_{side}"]])
        start, along = ray(place - shift)
        root, middle, now = (joints[JOINT[f"{name}_{side}"]] for name in (start_joint, middle, end))
        reach = upper + lower - 1e-3
        target = within_reach(start, along, root, reach, now[2])
        target = root + (target - root) * min(1.0, reach / float(np.linalg.norm(target - root)))
        wanted = target
        for _ in range(12):  # the shin's way out follows the thigh's: what is left is asked again
            mid, tip = two_bones(root, wanted, upper, lower, self._bending(limb, middle - root))
            self._turn_segment(limb, side, 0, mid - root)
            self._turn_segment(limb, side, 1, tip - mid)
            wanted = wanted + target - (root + self._from_root(limb, side, upper, lower))
        self.posed.add(f"{limb}_{side}")
        self._go_after(place - shift, target)

    def _go_after(self, place: np.ndarray, target: np.ndarray) -> None:
        """Walk sideways while a hand or foot is pulled further than it reaches."""
        short = _beside(place, target[2]) - target[0]
        self.follows = abs(short) > (0.3 * PULL if self.follows else PULL)
        self.goal = self._place() + np.array([short if self.follows else 0.0, 0.0])
        self._keep_goal_in_the_room()

    def _from_root(self, limb: str, side: str, upper: float, lower: float) -> np.ndarray:
        """The way from a limb's root to its end, as its channels have it: (3,) world meters."""
        sign, way = 1 if side == "left" else -1, np.zeros(3)
        out = 0.0
        for name, length in zip(SEGMENTS[limb], (upper, lower)):
            swing = self.base[COLUMN[f"{side}_{name}"]]
            # The shin has no way out of its own (`skeleton._leg`).
            out = self.base[COLUMN[f"{side}_{name}_out"]] if name != "shank" else 0.6 * out
            way += length * direction(*np.radians([[swing], [out]]), sign)[0]
        left, forward = horizontal(np.radians(self.row[COLUMN["heading"]])[None])
        return way[0] * left[0] + way[1] * np.array([0.0, 1.0, 0.0]) + way[2] * forward[0]

    def _bending(self, limb: str, middle: np.ndarray) -> np.ndarray:
        """To which side a limb bends: where its middle is, knees always forward."""
        if limb == "arm":
            return middle
        _, forward = horizontal(np.radians(self.row[COLUMN["heading"]])[None])
        return middle + 0.3 * forward[0]

    def _reach_with_middle(
        self, joints: np.ndarray, kind: str, side: str, place: np.ndarray
    ) -> None:
        limb = MIDDLES[kind]
        root, _, _, upper, _ = LIMBS[limb]
        root, now = joints[JOINT[f"{root}_{side}"]], joints[JOINT[f"{kind}_{side}"]]
        self._turn_segment(limb, side, 0, on_sphere(*ray(place), root, upper, now[2]) - root)
        self.posed.add(f"{limb}_{side}")

    def _turn_segment(self, limb: str, side: str, index: int, along: np.ndarray) -> None:
        """Turn a bone to a direction in the world: `skeleton.direction` the other way round."""
        left, up, forward = self._in_body(along)
        sign = 1 if side == "left" else -1
        name = f"{side}_{SEGMENTS[limb][index]}"
        self.base[COLUMN[name]] = np.degrees(np.arctan2(forward, -up))
        if f"{name}_out" in COLUMN:
            self.base[COLUMN[f"{name}_out"]] = np.degrees(np.arcsin(np.clip(sign * left, -1, 1)))

    def _in_body(self, direction: np.ndarray) -> np.ndarray:
        """A direction in the world as (left, up, forward) of the body, of length 1."""
        left, forward = horizontal(np.radians(self.row[COLUMN["heading"]])[None])
        direction = direction / max(1e-9, float(np.linalg.norm(direction)))
        return np.array([direction @ left[0], direction[1], direction @ forward[0]])

    def _bend(self, joints: np.ndarray, place: np.ndarray) -> None:
        hip, neck = joints[JOINT["mid_hip"]], joints[JOINT["neck"]]
        left, up, forward = self._in_body(on_sphere(*ray(place), hip, SPINE, neck[2]) - hip)
        self.base[COLUMN["tilt"]] = np.clip(np.degrees(np.arcsin(np.clip(left, -1, 1))), -40, 40)
        self.base[COLUMN["lean"]] = np.clip(np.degrees(np.arctan2(forward, up)), -20, 75)

    def _look(self, joints: np.ndarray, place: np.ndarray) -> None:
        head = (joints[JOINT["ear_right"]] + joints[JOINT["ear_left"]]) / 2
        right, down = (place - project(head)) * head[2] / FOCAL / 0.12  # of the nose's length
        yaw = np.degrees(np.arcsin(np.clip(right, -1, 1))) - self.row[COLUMN["heading"]]
        yaw = (yaw - self.row[COLUMN["twist"]] + 180) % 360 - 180
        self.base[COLUMN["look"]] = np.clip(yaw, -80, 80)
        nod = np.degrees(np.arcsin(np.clip(down, -1, 1))) - 0.5 * self.row[COLUMN["lean"]]
        self.base[COLUMN["nod"]] = np.clip(nod, -40, 55)


def _beside(place: np.ndarray, depth: float) -> float:
    """The x, in meters, of a place in the picture at a depth."""
    start, along = ray(place)
    return float((start + depth * along)[0])


# ------------------------------------------------------------------------ moves


def _still(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return rows, np.zeros(len(rows))


def _wave(row):
    posture = {"right_arm_out": 105, "right_forearm_out": 150, "tilt": -4}
    return _still(moves.gesture(row, posture, {"right_forearm_out": 32}, 66, 12, period=18))


def _kneel(row):
    return _still(moves.gesture(row, moves.KNEEL, {}, 72, 16, period=60))


def _turn(row):
    return _still(moves.turn(row, row[COLUMN["heading"]] + 90))


def _jump(row):
    bent = {"lean": 16} | both(thigh=38, shank=-34, foot=4, arm=-20, forearm=-8)
    crouch = moves.gesture(row, bent, {}, 20, 9, period=60)
    air = np.arange(1, 14) / 14
    flying = moves.rows(crouch[-1], 13, both(arm_out=70, forearm_out=95, foot=30))
    landing = moves.gesture(flying[-1], bent, {}, 20, 9, period=60)
    lifts = np.concatenate([np.zeros(20), 0.30 * 4 * air * (1 - air), np.zeros(20)])
    # Smoothed, so that nothing jumps but the body.
    rows = np.concatenate([crouch, flying, landing])
    padded = np.pad(rows, ((3, 3), (0, 0)), mode="edge")
    weights = np.array([1, 3, 5, 6, 5, 3, 1]) / 24
    return sum(w * padded[k : k + len(rows)] for k, w in enumerate(weights)), lifts


def _walk(row):
    """To the other side of the picture, and a turn back to the camera."""
    x, z = row[COLUMN["x"]], row[COLUMN["z"]]
    there = np.array([-np.sign(x or 1) * 0.62 * edge(z), z])
    walked = moves.walk(row, there, 0.055)
    return _still(np.concatenate([walked, moves.turn(walked[-1], 0.0)]))


MOVES = {"wave": _wave, "kneel": _kneel, "turn": _turn, "jump": _jump, "walk": _walk}
