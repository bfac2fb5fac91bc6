"""From videos and the poses that any estimator found in them to a dance data set.

    python -m data.video --video clip.mp4 --poses POSES --out ROOT

Writes frames, pose images and joints in the layout of docs/data.md, all of it or nothing.
"""

import argparse
import shlex
import shutil
from pathlib import Path

import numpy as np

from core.errors import UserError, exit_on_user_error
from core.files import check_new, whole_folder
from core.words import number_of
from data.estimates import table
from data.estimates.flags import add_pose_flags
from data.layout import JOINTS_FILE
from data.pose.picture import draw_places
from data.video.film import open_film
from data.video.material import Material
from data.video.splits import Splits, split_stretches
from settings.flag_types import non_negative, picture_size

TRAINED_PIXELS = 32 * 64  # of a frame that the presets train on,
SIDE = 4  # whose sides are multiples of this


@exit_on_user_error
def main() -> None:
    args = read_flags()
    check_new(args.out)
    films = [open_film(path) for path in args.video]
    with whole_folder(args.out) as partial:
        frames = partial / "frames"
        frames.mkdir()
        material = Material()
        for film, poses in zip(films, args.poses):
            material.add(film, poses, frames, args)
        splits = split_stretches(material.stretches, args.val, args.test, films[0].rate)
        said = write_splits(partial, frames, material, splits, args)
    print("\n".join([*material.report, f"{args.out}: {said}"]))
    print(f"next: python Trainer.py {training_flags(splits, args)}")


def write_splits(
    root: Path, frames: Path, material: Material, splits: Splits, args: argparse.Namespace
) -> str:
    """Move the frames into their splits, with a pose image each; say what there is."""
    for name in ("train", "val"):
        if numbers := getattr(splits, name):
            folders = root / name / f"{name}_img", root / name / f"{name}_label"
            write_pairs(frames, *folders, material, dict(zip(numbers, numbers)), args.size)
            places = {number: material.places[number] for number in numbers}
            table.write(root / name / JOINTS_FILE, places)
    begins = [n for n, before in zip(splits.train[1:], splits.train) if n != before + 1]
    (root / "train" / "cuts.txt").write_text("".join(f"{number}\n" for number in begins))

    for k, stretch in enumerate(splits.test):
        folders = root / "test/test_gt" / str(k), root / "test/test_label" / str(k)
        numbers = {number: index for index, number in enumerate(stretch)}
        write_pairs(frames, *folders, material, numbers, args.size)
        given = root / "test/test_img" / str(k)
        given.mkdir(parents=True)
        shutil.copyfile(folders[0] / "0.png", given / "0.png")
    shutil.rmtree(frames)
    tested = sum(map(len, splits.test))
    return (
        f"{len(splits.train)} frames to train on in {number_of(len(begins) + 1, 'recording')}, "
        f"{len(splits.val)} to validate, {tested} to test in "
        f"{number_of(len(splits.test), 'sequence')}, of "
        f"{args.size[0]}x{args.size[1]} pixels (height x width)"
        + (f"; {splits.dropped} left over between cuts" if splits.dropped else "")
    )


def write_pairs(
    frames: Path, images: Path, labels: Path, material: Material, numbers: dict[int, int], size
) -> None:
    """Move frames to `images`, renumbered, and write their pose images to `labels`."""
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    for number, new in numbers.items():
        (frames / f"{number}.png").rename(images / f"{new}.png")
        pose = draw_places(np.asarray(material.places[number], float), size[1], size[0])
        pose.save(labels / f"{new}.png", compress_level=1)


def training_flags(splits: Splits, args: argparse.Namespace) -> str:
    """Return the flags of the Trainer for what was written, frames in the shape of the pictures."""
    height, width = args.size
    shrunk = (TRAINED_PIXELS / (height * width)) ** 0.5
    frame = [max(SIDE, SIDE * round(side * shrunk / SIDE)) for side in args.size]
    flags = ["--DR", args.out, "--save_root", f"{args.out}-run", "--preset", "quick"]
    flags += ["--flip_prob", 0]
    if height * 2 != width:
        flags += ["--frame_H", frame[0], "--frame_W", frame[1]]
    if not splits.val:  # training validates on something: the last tenth
        last = splits.train[-max(2, len(splits.train) // 10) :]
        flags += ["--holdout", f"{last[0]}:{last[-1] + 1}"]
    return shlex.join(map(str, flags))


def check_videos(args: argparse.Namespace) -> None:
    """Raise UserError for videos that are not there, or have not one POSES each."""
    for flag, paths in (("--video", args.video), ("--poses", args.poses)):
        if gone := next((path for path in paths if not path.exists()), None):
            whole = " ".join(map(str, paths))
            there = f", such as {shlex.quote(whole)}" if Path(whole).exists() else ""
            quotes = f"; a name with spaces needs quotes{there}" if paths[1:] else ""
            raise UserError(f"{flag} {gone}: no such file{quotes}")
    if len(args.poses) != len(args.video):
        raise UserError(
            f"--poses: {len(args.poses)} for {len(args.video)} videos; give one for each, in order"
        )


def read_flags(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data.video",
        description=__doc__.splitlines()[0],
        epilog="Formats of poses, and what becomes of them: docs/data.md, Your own videos",
        allow_abbrev=False,
    )
    add = parser.add_argument_group("data").add_argument
    add("--video", type=Path, nargs="+", required=True, metavar="FILE", help="one or more videos")
    add(
        "--poses",
        type=Path,
        nargs="+",
        required=True,
        metavar="POSES",
        help="what an estimator found in each of them: a folder or file",
    )
    add("--out", type=Path, required=True, metavar="ROOT", help="dataset folder to write")
    add = parser.add_argument_group("pictures").add_argument
    add(
        "--size",
        type=picture_size,
        default=(64, 128),
        metavar="HEIGHTxWIDTH",
        help="of the pictures to write (default: 64x128)",
    )
    add(
        "--crop",
        choices=["picture", "person"],
        default="picture",
        help="keep as much of the picture as that shape can (the default), or come as near to the "
        "person as their movements allow",
    )
    add(
        "--val",
        type=non_negative,
        default=10.0,
        metavar="SECONDS",
        help="to validate on (default: 10)",
    )
    add(
        "--test",
        type=non_negative,
        default=20.0,
        metavar="SECONDS",
        help="to test on, at the end (default: 20)",
    )
    add_pose_flags(parser)
    args = parser.parse_args(argv)
    check_videos(args)
    return args


if __name__ == "__main__":
    main()
