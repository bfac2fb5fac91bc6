"""What is played: a dancer or an arm that is steered, and the model that answers.

A world belongs to one session and is only ever used by the inference thread. Dimensions: P
pictures side by side, H×W frame size.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image

from data.pose.camera import FOCAL, HORIZON, Camera, camera_for
from data.pose.picture import draw_pose
from player.arm import LOWERED, RAISED, Arm, Reach
from player.body import Body
from player.model import Latent, LiveRollout, PlayedModel
from player.recording import Recording
from player.starts import DanceStart, RobotStart

SAMPLES = 4  # of the robot, side by side
TALL = 1.7  # meters, of somebody who is seen in a pose image
NO_OVERLAY = np.zeros(0, np.float32)


@dataclass(frozen=True)
class Shown:
    """One moment of a world, as the page shows it."""

    number: int  # of the frame since the first
    pictures: np.ndarray  # (P, H, W, 3) uint8: predictions, and for a dance the pose image
    overlay: np.ndarray  # float32: places to draw over the pictures, in shares of the picture
    applied: int  # the number of the latest input that it shows
    predicted: bool  # False: a known frame, or the frame from before a pose was changed
    resting: bool = False  # the choreography has come to its end


@dataclass
class World:
    """What dancer and arm have in common: a rollout, the latent, and what is recorded."""

    played: PlayedModel
    latent: Latent = field(default_factory=Latent)
    recording: Recording | None = None
    number: int = 0
    applied: int = 0

    def act(self, message: dict[str, Any]) -> None:
        """Do what a checked message of the page asks for."""
        getattr(self, f"do_{message['do']}")(message)
        self.applied = message.get("n", self.applied)

    def do_latent(self, message: dict) -> None:
        self.latent = replace(self.latent, z=message["z"], temperature=message["temperature"])

    def do_redraw(self, message: dict) -> None:
        self.latent = replace(self.latent, seed=self.latent.seed + 1)

    def do_record(self, message: dict) -> None:
        if message["on"]:
            self._restart_from_seen()
            self.recording = Recording(self.known, self.conditions, self.played.kind)
        elif self.recording:
            self.recording.running = False

    def _begin(self, frames: np.ndarray, conditions: np.ndarray) -> None:
        """Begin a rollout at context frames (n_past, P, H, W, 3); conditions lead to them."""
        self.rollout = LiveRollout(self.played, frames, conditions)
        self.known, self.conditions = frames, conditions
        self.number = len(frames) - 1

    def _restart_from_seen(self) -> None:
        """Begin anew at the latest frames as they are seen, rounded to 8 bits.

        What follows is then what the Tester predicts from the recording's first frames.
        """
        number = self.number
        self._begin(self.known, self.conditions)
        self.number = number

    def _predict(self, condition: np.ndarray) -> np.ndarray:
        frame = self.rollout.step(condition, self.latent)  # (P, H, W, 3)
        self.known = np.concatenate([self.known[1:], frame[None]])
        self.conditions = np.concatenate([self.conditions[1:], condition[None]])
        self.number += 1
        if self.recording and self.recording.running:
            self.recording.add(frame, condition)
        return frame


# ------------------------------------------------------------------------ dance


@dataclass
class DanceWorld(World):
    """A dancer: a skeleton that is posed, or a sequence of pose images as they are."""

    starts: list[DanceStart] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.camera = camera_for(self.played.height, self.played.width)
        self.do_start({"start": 0})

    def do_start(self, message: dict) -> None:
        """Go to the first frame of a start; out of range, of the same again."""
        self.start = self.starts[min(message["start"], len(self.starts) - 1)]
        self.body: Body | None = None
        self.poses, self.at = self.start.poses, 0
        if self.start.motion is not None:
            self.body = Body(self.start.motion[0])
            self.body.follow(self.start.motion)
        self.pose = self._pose_image()
        self._begin(self.start.frame[None, None], self.pose[None])

    def do_drag(self, message: dict) -> None:
        self._take_over().drag(message["joint"], _pixels(message, self.camera))

    def do_drop(self, message: dict) -> None:
        if self.body:
            self.body.drop()

    def do_come(self, message: dict) -> None:
        self._take_over().come(message["by"])

    def do_move(self, message: dict) -> None:
        self._take_over().move(message["name"])

    def do_take(self, message: dict) -> None:
        self._take_over()

    def _take_over(self) -> Body:
        """Return the body; where pose images were shown, one that stands where they had one."""
        if self.body is None:
            self.body = Body.standing(*_where_somebody_is(self.pose, self.camera))
            self.poses = None
        return self.body

    def step(self) -> Shown:
        if self.body:
            self.body.advance()
        else:
            self.at = min(self.at + 1, len(self.poses) - 1)
        self.pose = self._pose_image()
        self._predict(self.pose)
        return self._shown(predicted=True)

    def look(self) -> Shown:
        """Return what is to be seen without a step: the pose as it would be, the frame as it is."""
        self.pose = self._pose_image()
        return self._shown(predicted=False)

    def follow_hand(self) -> None:
        """While paused, let the body follow what is dragged."""
        if self.body and self.body.held and not self.body.queue:
            self.body.advance()

    def _shown(self, predicted: bool) -> Shown:
        overlay = NO_OVERLAY
        if self.body:
            places = self.camera.project(self.body.joints())
            overlay = places / (self.camera.width, self.camera.height)
            overlay = overlay.astype(np.float32).ravel()
        pictures = np.concatenate([self.known[-1], self.pose[None]])
        resting = not self.body and self.at == len(self.poses) - 1
        return Shown(self.number, pictures, overlay, self.applied, predicted, resting)

    def _pose_image(self) -> np.ndarray:
        """The pose image of now, (H, W, 3) uint8, resized as the data are."""
        if self.body is None:
            return self.poses[self.at]
        image = draw_pose(self.body.joints(), self.camera)
        size = (self.played.width, self.played.height)
        if image.size != size:
            image = image.resize(size, Image.Resampling.BILINEAR)
        return np.asarray(image)


def _pixels(message: dict, camera: Camera) -> np.ndarray:
    """The place of a message, in shares of the camera's picture, in pixels of the demo's."""
    place = np.array([message["x"] * camera.width, message["y"] * camera.height])
    return HORIZON + (place - camera.horizon) * (FOCAL / camera.focal)


def _where_somebody_is(pose: np.ndarray, camera: Camera) -> tuple[float, float]:
    """Guess from a pose image where its body stands: x and z in meters."""
    rows, columns = np.nonzero(pose.min(axis=-1) < 200)
    if len(rows) < 8:
        return 0.0, 4.6
    H, W, _ = pose.shape
    height = max(camera.height / 16, np.ptp(rows) * camera.height / H)
    z = float(np.clip(camera.focal * TALL / height, 2.3, 6.2))
    center = (columns.min() + columns.max() + 1) / 2 * camera.width / W
    return float((center - camera.horizon[0]) * z / camera.focal), z


# ------------------------------------------------------------------------ robot


@dataclass
class RobotWorld(World):
    """An arm that follows a hand, and what may happen then: SAMPLES of it."""

    starts: list[RobotStart] = field(default_factory=list)
    reach: Reach | None = None

    def __post_init__(self) -> None:
        self.latent = Latent(z="sample")
        self.do_start({"start": 0})

    def do_start(self, message: dict) -> None:
        """Go to the context frames of a start; out of range, of the same again."""
        self.start = self.starts[min(message["start"], len(self.starts) - 1)]
        self.arm = Arm(self.reach, self.start.hand, self.start.grip)
        frames = np.repeat(self.start.frames[:, None], SAMPLES, axis=1)
        self._begin(frames, self.start.conditions)

    def do_keep(self, message: dict) -> None:
        """Take what is seen for known: things then stay where they were pushed."""
        self._restart_from_seen()

    def do_aim(self, message: dict) -> None:
        self.arm.aim(np.array([message["x"], message["y"]]))

    def do_lower(self, message: dict) -> None:
        self.arm.raise_to(LOWERED if message["on"] else RAISED)

    def do_grip(self, message: dict) -> None:
        self.arm.hold(message["open"])

    def step(self) -> Shown:
        self._predict(self.arm.advance())
        return self._shown(predicted=True)

    def look(self) -> Shown:
        return self._shown(predicted=False)

    def follow_hand(self) -> None:
        """While paused, the arm waits."""

    def _shown(self, predicted: bool) -> Shown:
        return Shown(self.number, self.known[-1], self.arm.shares(), self.applied, predicted)
