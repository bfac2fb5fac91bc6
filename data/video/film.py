"""A video, frame by frame as a player shows it: turned upright, and never whole in memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from core.errors import UserError
from core.files import open_regular

HDR = {16: "PQ", 18: "HLG"}  # transfer functions, ITU-T H.273
UNEVEN = 1.5  # longest over shortest time between frames from which on a rate is called variable


@dataclass
class Film:
    """A video that can be decoded. What is only known at its end is filled in by `frames`."""

    path: Path
    width: int  # as shown
    height: int
    rate: float  # frames a second, on average
    rotation: int  # degrees that the file says to turn it by
    announced: int  # frames that the file says it has; 0: it does not say
    decoded: int = 0
    intervals: list[float] = field(default_factory=lambda: [np.inf, 0.0])  # shortest, longest

    @property
    def uneven(self) -> bool:
        """Tell whether the time between frames varied, among those decoded."""
        shortest, longest = self.intervals
        return longest > UNEVEN * shortest

    def frames(self) -> Iterator[np.ndarray]:
        """Yield every frame, (height, width, 3) uint8. Raises UserError where one is damaged."""
        before = None
        with _container(self.path) as container:
            for frame in _decoded(container, self.path):
                if frame.time is not None and before is not None and frame.time > before:
                    shortest, longest = self.intervals
                    step = frame.time - before
                    self.intervals = [min(shortest, step), max(longest, step)]
                before = frame.time
                self.decoded += 1
                yield _upright(frame)


def open_film(path: Path) -> Film:
    """Look at the first frame. Raises UserError for what does not decode, and for HDR."""
    with _container(path) as container:
        stream = container.streams.video[0]
        first = next(_decoded(container, path), None)
        if first is None:
            raise UserError(f"--video {path}: not one frame decodes; {_again(path)}")
        if (transfer := stream.codec_context.color_trc) in HDR:
            raise UserError(
                f"--video {path}: HDR ({HDR[transfer]}), whose colors are not those of "
                "pictures; convert it, and estimate the poses on that: ffmpeg -i "
                f"{path.name} -vf zscale=t=linear,tonemap=hable,zscale=t=bt709:m=bt709:p=bt709,"
                "format=yuv420p sdr.mp4"
            )
        height, width = _upright(first).shape[:2]
        rate = stream.average_rate or stream.guessed_rate or Fraction(30)
        return Film(path, width, height, float(rate), first.rotation, stream.frames)


def _container(path: Path):
    """Open a file. Not a URL: what av would fetch, nobody asked for."""
    try:
        with open_regular(path):
            pass
    except OSError as error:
        raise UserError(f"--video {path}: {error.strerror}") from None
    try:
        container = av.open(str(path.resolve()), metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise UserError(f"--video {path}: no video ({error.strerror}); {_again(path)}") from None
    if not container.streams.video:
        container.close()
        raise UserError(f"--video {path}: has no picture, only sound; give the video")
    return container


def _decoded(container, path: Path) -> Iterator[av.VideoFrame]:
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    count = 0
    try:
        for frame in container.decode(stream):
            count += 1
            yield frame
    except av.error.FFmpegError as error:
        raise UserError(
            f"--video {path}: does not decode after frame {count} ({error.strerror}); "
            + _again(path)
        ) from None


def _upright(frame: av.VideoFrame) -> np.ndarray:
    """A frame as (height, width, 3) uint8, turned as its metadata say."""
    return np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))


def _again(path: Path) -> str:
    return f"write it anew with: ffmpeg -i {path.name} -pix_fmt yuv420p new.mp4"
