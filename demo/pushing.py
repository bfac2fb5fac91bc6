"""What happens on the table: an arm that obeys its commands, objects it pushes, and chance.

Places are in half-widths of the table: x to the right and y down the picture, both -1 to 1; the
height z of the end effector goes from 0, on the table, to 1. A step is one frame.
"""

from dataclasses import dataclass, replace

import numpy as np

STEP = np.array([0.16, 0.16, 0.30])  # how far a command of 1 moves the end effector in a step
REACH = np.array([[-0.85, -0.75, 0.0], [0.85, 0.85, 1.0]])  # where it may be
GRIP_STEP = 0.5  # how much of the way to the commanded opening the gripper goes in a step
PUSHING_HEIGHT = 0.5  # below it the end effector touches objects
HAND = 0.16  # radius of the end effector
EDGE = 0.88  # how far out an object may lie

# Chance: where no command tells what happens.
SLIP = 0.45  # radians, the spread of the direction an object is pushed in
SPIN = 0.35  # radians, the spread of its turn in a step
TUMBLE = 0.30  # the probability that a pushed die falls on another face in a step
ROLL = 0.10  # how much further it rolls then, at most

COLORS = {
    "red": (206, 44, 38),
    "blue": (38, 84, 196),
    "green": (32, 150, 74),
    "yellow": (240, 200, 40),
    "white": (244, 244, 240),
    "violet": (128, 52, 160),
}


@dataclass(frozen=True)
class Thing:
    """An object on the table: a die with six faces, or a puck, which has one."""

    place: np.ndarray  # (2,)
    angle: float
    size: float  # radius of the circle that stands for it when it is pushed
    faces: tuple[str, ...]  # colors; the first lies on top
    round: bool


@dataclass(frozen=True)
class Table:
    """All there is to see in one frame."""

    hand: np.ndarray  # (3,): x, y, z of the end effector
    grip: float  # opening of the gripper, 0 to 1
    things: tuple[Thing, ...]


def play(rng, frames):
    """Tables of so many frames, actions (frames, 4) and end-effector positions (frames, 3).

    Row t of the actions, in [-1, 1], moves x, y and z of the end effector and sets the gripper
    between frames t and t + 1; row t of the positions is where it is in frame t.
    """
    table = lay(rng)
    tables, actions, positions = [], [], []
    goal, left = None, 0
    for _ in range(frames):
        if left == 0:
            goal, left = _goal(rng, table), int(rng.integers(3, 8))
        action = _command(rng, table, goal)
        tables.append(table)
        actions.append(action)
        positions.append(table.hand)
        table = step(table, action, rng)
        left -= 1
    return tables, np.array(actions), np.array(positions)


def lay(rng):
    """A table with three or four objects that do not touch each other."""
    things = []
    while len(things) < 3 + (rng.random() < 0.5):
        size = rng.uniform(0.15, 0.21)
        place = rng.uniform(-0.75, 0.75, 2)
        if all(np.hypot(*(place - t.place)) > size + t.size + 0.05 for t in things):
            faces = tuple(rng.permutation(list(COLORS)).tolist())
            is_round = rng.random() < 0.3
            faces = faces[:1] if is_round else faces
            things.append(Thing(place, rng.uniform(0, 2 * np.pi), size, faces, is_round))
    hand = rng.uniform(*REACH) * (1, 1, 0) + (0, 0, 0.9)  # above, so that it rests on nothing
    return Table(hand, rng.random(), tuple(things))


def _goal(rng, table):
    """Where the end effector is to go: mostly low and through an object, sometimes anywhere."""
    if rng.random() < 0.25:
        return np.append(rng.uniform(*REACH), rng.uniform(-1, 1))
    aim = table.things[rng.integers(len(table.things))].place
    beyond = aim + 0.35 * (aim - table.hand[:2]) / (np.hypot(*(aim - table.hand[:2])) + 0.1)
    return np.array([*beyond, 0.1, rng.uniform(-1, 1)])


def _command(rng, table, goal):
    """An unsteady command towards a goal (x, y, z, grip): (4,) in [-1, 1]."""
    towards = (goal[:3] - table.hand) / STEP
    speed = np.array([1.0, 1.0, 0.8])
    command = np.clip(towards, -speed, speed) * rng.uniform(0.5, 1.0)
    noise = rng.normal(0, [0.35, 0.35, 0.15, 0.1])
    return np.clip(np.append(command, goal[3]) + noise, -1, 1)


def step(table, action, chance):
    """The table one frame later; the generator `chance` decides what pushed objects do."""
    hand = np.clip(table.hand + STEP * action[:3], *REACH)
    grip = table.grip + GRIP_STEP * ((action[3] + 1) / 2 - table.grip)
    things = list(table.things)
    if hand[2] < PUSHING_HEIGHT:
        # Along the way, so that a fast hand does not jump over a thing.
        for share in (0.25, 0.5, 0.75, 1.0):
            at = table.hand[:2] + share * (hand[:2] - table.hand[:2])
            things = [_pushed(thing, at, HAND, chance, lively=True) for thing in things]
            for i, thing in enumerate(things):
                for k, other in enumerate(things):
                    if i != k:
                        things[k] = _pushed(other, thing.place, thing.size, chance, lively=False)
        things = [
            now if now is before else _tumbled(now, chance)
            for now, before in zip(things, table.things)
        ]
    return Table(hand, grip, tuple(things))


def _pushed(thing, place, radius, chance, lively):
    """A thing moved out of a circle that it overlaps; a lively push goes astray and turns it."""
    away = thing.place - place
    distance = np.hypot(*away)
    overlap = radius + thing.size - distance
    if overlap <= 0:
        return thing
    direction = np.arctan2(away[1], away[0]) + lively * chance.normal(0, SLIP)
    moved = thing.place + overlap * np.array([np.cos(direction), np.sin(direction)])
    angle = thing.angle + lively * chance.normal(0, SPIN)
    return replace(thing, place=np.clip(moved, -EDGE, EDGE), angle=angle)


def _tumbled(thing, chance):
    """A thing that was pushed: a die may fall on another face and roll on."""
    if thing.round or chance.random() >= TUMBLE:
        return thing
    faces = list(thing.faces)
    top = int(chance.integers(1, len(faces)))
    faces[0], faces[top] = faces[top], faces[0]
    roll = chance.uniform(-ROLL, ROLL, 2)
    return replace(thing, faces=tuple(faces), place=np.clip(thing.place + roll, -EDGE, EDGE))
