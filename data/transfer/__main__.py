"""Somebody else's dance as a test sequence for a dancer of one's own.

    python -m data.transfer --poses POSES --to RUN --out SEQ
    python Tester.py --DR SEQ --ckpt_path RUN --save_root RESULTS

Brings the poses of any person into the place, size and limbs of the trained one.
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
from data.estimates.alignment import counted_from_0, in_picture
from data.estimates.flags import add_pose_flags
from data.estimates.following import follow_person, mended
from data.estimates.reading import read_poses
from data.layout import JOINTS_FILE
from data.transfer.normalization import Transferred, transfer
from data.transfer.stance import measure
from data.transfer.target import Target, open_target
from settings.flag_types import natural

# Kinds of bones, by the joint at their end.
PARTS = {"trunk": ("neck",), "arms": ("elbow", "wrist"), "legs": ("knee", "ankle")}


@exit_on_user_error
def main() -> None:
    args = read_flags()
    check_new(args.out)
    target = open_target(args.to)
    source = read_source(args)
    stance = measure(target.places, f"--to {args.to}")
    dance = transfer(source, stance, target.width, f"--poses {args.poses}")
    seen = np.isfinite(dance.places[..., 0]).any(axis=1)
    places = dance.places[seen]
    if len(places) < 2:
        raise UserError(f"--poses {args.poses}: {len(places)} frames; a sequence needs two")
    first = target.nearest(places[0]) if args.first_frame is None else args.first_frame
    if first not in target.pictures:
        raise UserError(
            f"--first_frame {first}: no training frame of {target.root}, which are numbered "
            f"{min(target.pictures)} to {max(target.pictures)}"
        )
    with whole_folder(args.out) as partial:
        write_sequence(partial, places, target, first)
    print(
        f"{args.out}: {number_of(len(places), 'frame')}; frame {first} of {target.root} is the "
        f"first picture{_said(dance, seen)}"
    )
    run = args.to if target.root != args.to else "RUN"
    flags = ["--DR", args.out, "--ckpt_path", run, "--save_root", f"{args.out}-results"]
    print(f"next: python Tester.py {shlex.join(map(str, flags))}")


def _said(dance: Transferred, seen: np.ndarray) -> str:
    """Say what became of the body and of the frames."""
    lost = int((~seen).sum())
    said = f"; {number_of(lost, 'frame')} without the person left out"
    low, high = np.quantile(dance.scale[seen], [0.02, 0.98])
    said += f"; in pixels the body is scaled by {low:.2f}" + (
        f" to {high:.2f}" if high - low > 0.005 else ""
    )
    parts = [
        f"{part} by {np.mean(factors):.2f}"
        for part, kinds in PARTS.items()
        if (factors := [dance.factors[kind] for kind in kinds if kind in dance.factors])
    ]
    said += f", besides {', '.join(parts)}" if parts else ""
    if dance.narrowed < 0.99:
        said += f"; ways to the sides taken by {dance.narrowed:.0%}, to stay in the picture"
    return said


def read_source(args: argparse.Namespace) -> np.ndarray:
    """Return the joints of the person who dances, (T, J, 2) in pixels of their pictures."""
    estimates = read_poses(args.poses)
    if estimates.in_shares and args.pose_size is None:
        raise UserError(
            f"--poses {args.poses}: places are shares of the picture; say with --pose_size "
            "HEIGHTxWIDTH how large that was"
        )
    if args.pose_size:
        height, width = args.pose_size
        estimates = in_picture(estimates, width, height, args.poses, None)
    estimates = counted_from_0(estimates, 0, args.poses)
    return mended(follow_person(estimates, args.poses, args), args)[0].astype(float)


def write_sequence(root: Path, places: np.ndarray, target: Target, first: int) -> None:
    """Write pose images (T, J, 2) and the first frame as test sequence 0."""
    labels, given = root / "test/test_label/0", root / "test/test_img/0"
    labels.mkdir(parents=True)
    given.mkdir(parents=True)
    for number, joints in enumerate(places):
        target.draw(joints).save(labels / f"{number}.png", compress_level=1)
    picture = target.pictures[first]
    shutil.copyfile(picture, given / f"0{picture.suffix}")
    table.write(root / "test" / JOINTS_FILE, dict(enumerate(places)))


def read_flags(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data.transfer",
        description=__doc__.splitlines()[0],
        epilog="Formats of poses, and how they are brought over: docs/data.md",
        allow_abbrev=False,
    )
    add = parser.add_argument_group("data").add_argument
    add(
        "--poses", type=Path, required=True, help="what an estimator found of the person who dances"
    )
    add(
        "--to", type=Path, required=True, metavar="RUN", help="a trained run, or its dataset folder"
    )
    add("--out", type=Path, required=True, metavar="SEQ", help="folder to write, for Tester's --DR")
    add(
        "--first_frame",
        type=natural,
        metavar="N",
        help="training frame to begin with (default: that of the nearest pose)",
    )
    add_pose_flags(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
