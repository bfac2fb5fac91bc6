"""Film somebody new in a new room, with what a pose estimator would find: `python -m demo.film`.

Two takes as MP4 with OpenPose's JSON of every frame, and the JSON of another person, who dances
before another camera. From there on `python -m data.video` and `python -m data.transfer` go on, as
with a phone's video. See `--help`.
"""

import numpy as np
from tqdm import tqdm

from data.pose.bones import resized
from data.pose.camera import Camera
from data.pose.skeleton import joints_of, lowest
from demo.clothes import Outfit
from demo.dataset import check_counts, in_processes, make_as_asked, make_whole, parser_of
from demo.estimator import estimated
from demo.figure import Look, render_frame
from demo.motion import dance
from demo.rooms import LOFT
from settings.flag_types import picture_size

VERSION = 1  # of the films: raise it when the same arguments make others
RATE = 30
CHUNK = 16  # frames handed to a worker at a time
SIZE = (128, 256)
LOOK = Look(
    Outfit(
        skin=(158, 104, 76),
        hair=(24, 20, 22),
        lip=(128, 62, 62),
        shirt=(232, 222, 196),
        stripe=(52, 122, 116),
        placket=(44, 70, 88),
        collar=(214, 150, 52),
        emblem=(196, 64, 56),
        trousers=(112, 84, 62),
        crease=(134, 104, 78),
        seam=(60, 44, 36),
        belt=(34, 30, 30),
        shoe=(198, 204, 210),
        toe_cap=(52, 96, 150),
    ),
    LOFT,
    girth=0.92,
)
# Lengths of bones over those of the demo's dancer.
DANCER = {"neck": 0.92, "shoulder": 0.90, "elbow": 0.98, "wrist": 0.98} | dict.fromkeys(
    ("hip", "knee", "ankle"), 0.93
)
OTHER = {
    "neck": 1.10,
    "shoulder": 1.12,
    "elbow": 1.06,
    "wrist": 1.04,
    "hand": 1.05,
} | dict.fromkeys(("hip", "knee", "ankle", "heel", "toe"), 1.12)
OTHER_CAMERA, OTHER_DISTANCE = Camera(480, 640), 1.6  # meters farther away


def make_film(out, seed=0, frames=2700, test_frames=900, num_workers=0, size=SIZE, progress=False):
    """Make the films in the folder `out`, all of them or nothing.

    Returns False, with nothing made, where `out` already holds the same. Raises Refusal where it
    holds anything else, or for a number out of range.
    """
    counts = {"seed": seed, "frames": frames, "test_frames": test_frames}
    check_counts(counts | {"num_workers": num_workers})
    camera = Camera(*size)

    def render(folder):
        takes = {"take1": frames, "take2": test_frames}
        with tqdm(total=sum(takes.values()), unit="frame", disable=not progress) as bar:
            for number, (name, length) in enumerate(takes.items()):
                joints = performance(seed, number, length, DANCER, camera)
                _write_poses(folder / f"{name}_poses", seed, number, joints, camera)
                _write_mp4(folder / f"{name}.mp4", joints, camera, num_workers, bar)
        joints = performance(seed, 2, test_frames, OTHER, OTHER_CAMERA)
        joints[..., 2] += OTHER_DISTANCE
        _write_poses(folder / "other_poses", seed, 2, joints, OTHER_CAMERA)

    return make_whole(out, counts | {"version": VERSION, "size": list(size)}, render)


def performance(seed, number, frames, lengths, camera):
    """Joints (frames, J, 3) of a dance by a body of other lengths."""
    motion = dance(np.random.default_rng([seed, 7000 + number]), frames, camera)
    joints = resized(joints_of(motion), lengths)
    joints[..., 1] -= lowest(joints)[:, None]
    return joints


def _write_poses(folder, seed, number, joints, camera):
    folder.mkdir()
    rng = np.random.default_rng([seed, 8000 + number])
    for t, text in enumerate(estimated(rng, joints, camera)):
        (folder / f"{folder.name}_{t:012d}_keypoints.json").write_text(text)


def _write_mp4(path, joints, camera, num_workers, bar):
    import av  # takes a while, and only films need it

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "16"})
        stream.width, stream.height, stream.pix_fmt = camera.width, camera.height, "yuv420p"
        jobs = [(joint, camera) for joint in joints]
        for pictures in in_processes(_rendered, jobs, CHUNK, num_workers):
            for picture in pictures:
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                container.mux(stream.encode(frame))
            bar.update(len(pictures))
        container.mux(stream.encode())


def _rendered(jobs):
    """Pictures (H, W, 3) uint8 of some frames."""
    return [render_frame(joints, camera, LOOK) for joints, camera in jobs]


def _parser():
    parser = parser_of("demo.film", __doc__.splitlines()[0])
    add = parser.add_argument
    add("--frames", type=int, default=2700, help="of the first take, to train on")
    add("--test_frames", type=int, default=900, help="of the second take, and of the other dance")
    add("--size", type=picture_size, default=SIZE, metavar="HxW", help="of the video (128x256)")
    return parser


def main():
    make_as_asked(_parser(), make_film)


if __name__ == "__main__":
    main()
