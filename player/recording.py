"""What was played, as files: GIF, MP4, and a test sequence that `Tester.py` takes.

A recording begins at context frames, rounded to 8 bits, and holds the condition of every frame, so
that the Tester predicts the same frames from it. Files are made in memory: the page saves them.
"""

import io
import zipfile
from fractions import Fraction

import numpy as np
import torch
from PIL import Image

from engine.output.pictures import encode_gif

MOST_FRAMES = 1800  # a minute at 30 frames a second
MOST_BYTES = 48 << 20
KINDS = {"gif": "image/gif", "mp4": "video/mp4", "sequence": "application/zip"}
GIF_WIDTH, MP4_WIDTH = 256, 768  # pixels, about
GAP = 1  # gray pixels between pictures


class Recording:
    """The frames of a session from when recording began."""

    def __init__(self, frames: np.ndarray, conditions: np.ndarray, kind: str):
        """Begin with context frames (n_past, P, H, W, 3) and what led to them."""
        self.frames, self.conditions = list(frames), list(conditions)
        self.kind, self.running = kind, True

    def __len__(self) -> int:
        return len(self.frames)

    def add(self, frame: np.ndarray, condition: np.ndarray) -> None:
        """Add a frame (P, H, W, 3) and its condition, until there is no room for more."""
        self.frames.append(frame)
        self.conditions.append(condition)
        size = len(self) * (frame.nbytes + condition.nbytes)
        self.running = len(self) < MOST_FRAMES and size < MOST_BYTES

    def encode(self, kind: str, fps: float) -> bytes:
        """Return the recording as a file of one of KINDS."""
        if kind == "sequence":
            return self._sequence(fps)
        frames = self._side_by_side()  # (T, H, W, 3)
        if kind == "gif":
            scale = max(1, GIF_WIDTH // frames.shape[2])
            images = torch.from_numpy(frames).permute(0, 3, 1, 2)
            return encode_gif(images, scale, max(20, round(1000 / fps)))
        return _mp4(frames, max(1, MP4_WIDTH // frames.shape[2]), fps)

    def _side_by_side(self) -> np.ndarray:
        """All pictures beside each other, (T, H, W, 3); of a dance the pose image first."""
        columns = list(np.stack(self.frames, axis=1))  # P of (T, H, W, 3)
        if self.kind == "dance":
            columns.insert(0, np.stack(self.conditions))
        line = np.full((*columns[0].shape[:2], GAP, 3), 128, np.uint8)
        parts = [part for column in columns for part in (line, column)][1:]
        return np.concatenate(parts, axis=2)

    def _sequence(self, fps: float) -> bytes:
        """A zip with a data folder in the layout of the model's data, and what was played."""
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            files = self._dance_files() if self.kind == "dance" else self._robot_files()
            for name, content in (*files, ("README.txt", self._how(fps).encode())):
                # A fixed date: the same recording is the same file.
                archive.writestr(zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0)), content)
        return file.getvalue()

    def _dance_files(self):
        yield "test/test_img/0/0.png", _png(self.frames[0][0])
        for number, (frame, pose) in enumerate(zip(self.frames, self.conditions)):
            yield f"test/test_label/0/{number}.png", _png(pose)
            yield f"played/0/{number}.png", _png(frame[0])

    def _robot_files(self):
        # Row t − 1 of the tables leads to frame t; what would follow the last frame stands still.
        conditions = np.stack([*self.conditions[1:], self.conditions[-1]])
        for sample in range(len(self.frames[0])):
            folder = f"test/traj_0_to_255/{sample}"
            for number, frame in enumerate(self.frames):
                yield f"{folder}/{number}.png", _png(frame[sample])
            for name, part in (("actions", slice(4)), ("endeffector_positions", slice(4, 7))):
                table = "\n".join(",".join(map(repr, row)) for row in conditions[:, part].tolist())
                yield f"{folder}/{name}.csv", f"{table}\n".encode()

    def _how(self, fps: float) -> str:
        T = len(self)
        if self.kind == "dance":
            flags = "--GT HERE/played --z mean --precision fp32"
            what = "played/ holds the frames as they were played, to score against"
        else:
            flags = f"--n_eval {T} --num_samples 1 --z mean --precision fp32"
            what = "the frames are those that were played, of every sample"
        threads = f"OMP_NUM_THREADS={torch.get_num_threads()}"
        return (
            f"{T} frames played at {fps:g} frames/s; {what}. Where they were played with the\n"
            "latent's mean, the Tester predicts them bit for bit, with as many threads:\n\n"
            f"{threads} python Tester.py --DR HERE --save_root OUT --ckpt_path CHECKPOINT {flags}\n"
        )


def _png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG", compress_level=3)
    return file.getvalue()


def _mp4(frames: np.ndarray, scale: int, fps: float) -> bytes:
    """Encode (T, H, W, 3) uint8 as H.264, enlarged by `scale`; sides are made even."""
    import av  # here, for it takes a while, and only who saves an MP4 needs it

    file = io.BytesIO()
    height, width = (2 * (side * scale // 2) for side in frames.shape[1:3])
    with av.open(file, "w", format="mp4") as video:
        stream = video.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "16", "preset": "veryfast"}
        stream.thread_count = 1  # the others belong to who is playing
        for pixels in frames:
            large = pixels.repeat(scale, axis=0).repeat(scale, axis=1)[:height, :width]
            video.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(large))))
        video.mux(stream.encode())
    return file.getvalue()
