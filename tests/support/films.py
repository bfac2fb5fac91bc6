"""Small films with somebody in them: a white square on a gray wall, its middle the mid-hip."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from data.pose.skeleton import JOINT, joints_of
from demo.motion import dance

SIDE = 10  # pixels of the square


def somebody(frames: int, width: int, height: int, seed: int = 0) -> np.ndarray:
    """Joints (T, J, 2) of a dance within a picture, moved to and fro."""
    joints = joints_of(dance(np.random.default_rng(seed), frames))
    body = joints[..., :2] - joints[:, JOINT["mid_hip"], None, :2]
    places = np.array([1, -1]) * body * height / 2.6
    t = np.arange(frames)
    middle = np.stack([width * (0.5 + 0.2 * np.sin(t / 9)), np.full(frames, 0.52 * height)], axis=1)
    return places + middle[:, None]


def pictures(places: np.ndarray, width: int, height: int, wall: int = 110) -> list[np.ndarray]:
    """A picture (H, W, 3) of every frame."""
    found = []
    for joints in places:
        picture = np.full((height, width, 3), wall, np.uint8)
        x, y = joints[JOINT["mid_hip"]].round().astype(int)
        picture[max(0, y - SIDE // 2) : y + SIDE // 2, max(0, x - SIDE // 2) : x + SIDE // 2] = 255
        found.append(picture)
    return found


def write_film(
    path: Path, frames: list[np.ndarray], times=None, transfer: int | None = None
) -> Path:
    """Write an MP4. times: of the frames, in 1/30 s; transfer: its function, 18 for HLG."""
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 30)
        if transfer:
            stream.codec_context.color_trc = transfer
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = index if times is None else times[index]
            frame.time_base = Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def turn(path: Path, quarter: int) -> None:
    """Say in an MP4's track header that players shall turn it clockwise by quarters."""
    matrices = [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)]
    a, b, c, d = matrices[quarter]
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 40  # ISO/IEC 14496-12, 8.3.2: version 0
    matrix = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    content[place : place + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(content)


def middle_of_square(picture: np.ndarray) -> tuple[float, float]:
    """Where the square is in a picture (H, W, 3): x, y."""
    rows, columns = np.nonzero(picture[..., 0] > 190)
    return columns.mean() + 0.5, rows.mean() + 0.5
