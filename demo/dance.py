"""Make a synthetic dance data set in the lab's layout: python -m demo.dance --out DIR"""

import shutil
from itertools import pairwise

import numpy as np
from PIL import Image
from tqdm import tqdm

from data.pose.camera import CAMERA, Camera
from data.pose.picture import draw_pose
from data.pose.skeleton import joints_of
from demo.dataset import Refusal, check_counts, in_processes, make_as_asked, make_whole, parser_of
from demo.figure import render_frame
from demo.motion import dance
from settings.flag_types import picture_size

VERSION = 1  # of the pictures: raise it when the same arguments make another set
SPLITS = ("train", "val", "test")  # the order is part of the seed
TRAIN_CUTS = (1000 / 2890, 1630 / 2890, 2260 / 2890)  # where the lab's own recordings are joined
LARGEST_SIDE = 1024  # pixels; a picture is traced as a whole, with nine rays a pixel
CHUNK = 32  # frames handed to a worker at a time


def make_dataset(
    out,
    seed=0,
    train_frames=2890,
    val_frames=630,
    test_sequences=5,
    sequence_length=630,
    num_workers=0,
    progress=False,
    size=(CAMERA.height, CAMERA.width),
):
    """Make a data set in the folder `out`, all of it or nothing.

    size: height and width in pixels. The pictures depend on it and on `seed` alone, never on
    `num_workers` (0 or 1: no process pool). Returns False, with nothing made, where `out` already
    holds the same set. Raises Refusal where it holds anything else, or for a number out of range.
    """
    arguments = {
        "version": VERSION,
        "seed": seed,
        "train_frames": train_frames,
        "test_sequences": test_sequences,
        "sequence_length": sequence_length,
        "val_frames": val_frames,
    }
    check_counts(arguments | {"num_workers": num_workers})
    if max(size) > LARGEST_SIDE:
        said = "x".join(map(str, size))
        raise Refusal(f"--size {said}: {LARGEST_SIDE} pixels a side are the most")
    camera = Camera(*size)
    if camera != CAMERA:  # sets made before there was a choice say nothing of their size
        arguments["size"] = list(size)

    def render(folder):
        render_all(_plan(folder, arguments, camera), num_workers, progress)
        give_first_frames(folder)

    return make_whole(out, arguments, render)


def recording(seed, split, index, frames, camera=CAMERA):
    """Joints (frames, J, 3) of one recording; each has its own stream of chance."""
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    return joints_of(dance(rng, frames, camera))


def train_cuts(train_frames):
    """The numbers of the training frames that begin a new recording, without 0."""
    cuts = {round(train_frames * share) for share in TRAIN_CUTS}
    return sorted(cut for cut in cuts if 0 < cut < train_frames)


def _plan(root, arguments, camera):
    """Make the folders; returns (joints of a frame, camera, image file, pose file) for each."""
    seed = arguments["seed"]
    cuts = train_cuts(arguments["train_frames"])
    bounds = [0, *cuts, arguments["train_frames"]]
    train = [
        recording(seed, "train", index, end - start, camera)
        for index, (start, end) in enumerate(pairwise(bounds))
    ]
    folders = root / "train/train_img", root / "train/train_label"
    jobs = jobs_of(np.concatenate(train), camera, *folders)
    (root / "train/cuts.txt").write_text("".join(f"{cut}\n" for cut in cuts))

    val = recording(seed, "val", 0, arguments["val_frames"], camera)
    jobs += jobs_of(val, camera, root / "val/val_img", root / "val/val_label")

    for index in range(arguments["test_sequences"]):
        test = recording(seed, "test", index, arguments["sequence_length"], camera)
        folders = root / f"test/test_gt/{index}", root / f"test/test_label/{index}"
        jobs += jobs_of(test, camera, *folders)
    return jobs


def jobs_of(joints, camera, image_folder, pose_folder, lost=None):
    """Make two folders; return (joints, camera, lost joints, two files) of every frame.

    joints: (frames, J, 3); lost: for every frame the names of those that its pose image lacks.
    """
    image_folder.mkdir(parents=True)
    pose_folder.mkdir(parents=True)
    lost = lost or [()] * len(joints)
    return [
        (place, camera, names, image_folder / f"{number}.png", pose_folder / f"{number}.png")
        for number, (place, names) in enumerate(zip(joints, lost, strict=True))
    ]


def render_all(jobs, num_workers, progress):
    """Render and save the frames of `jobs_of`."""
    with tqdm(total=len(jobs), unit="frame", disable=not progress) as bar:
        for done in in_processes(_render_chunk, jobs, CHUNK, num_workers):
            bar.update(done)


def _render_chunk(jobs):
    """Render and save some frames; returns how many."""
    for joints, camera, lost, image_file, pose_file in jobs:
        Image.fromarray(render_frame(joints, camera)).save(image_file, compress_level=1)
        draw_pose(joints, camera, lost).save(pose_file, compress_level=1)
    return len(jobs)


def give_first_frames(root):
    """Copy the first true frame of every test sequence to where it is given."""
    for truth in (root / "test/test_gt").iterdir():
        given = root / "test/test_img" / truth.name
        given.mkdir(parents=True)
        shutil.copyfile(truth / "0.png", given / "0.png")


def _parser():
    parser = parser_of("demo.dance", __doc__)
    parser.add_argument("--train_frames", type=int, default=2890, help="frames to train on")
    parser.add_argument("--test_sequences", type=int, default=5, help="sequences to predict")
    parser.add_argument("--sequence_length", type=int, default=630, help="frames of val and test")
    parser.add_argument(
        "--size",
        type=picture_size,
        default=(CAMERA.height, CAMERA.width),
        metavar="HxW",
        help="height and width in pixels (64x128)",
    )
    return parser


def main():
    def make(sequence_length, **arguments):
        return make_dataset(
            **arguments, sequence_length=sequence_length, val_frames=sequence_length
        )

    make_as_asked(_parser(), make)


if __name__ == "__main__":
    main()
