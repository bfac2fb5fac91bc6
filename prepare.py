"""Decode a dataset ahead of time: `python -m prepare --DR ROOT --out FOLDER`. See `--help`.

FOLDER is then given to Trainer and Tester as --DR. It starts them in constant time and needs no
picture any more. Run it again to finish what was interrupted, or after the pictures changed.
"""

import argparse
import shutil
from pathlib import Path

from core.errors import UserError, exit_on_user_error, why
from core.files import atomic_write
from data.dance_files import paired, split_folders
from data.store.picture_files import PictureFiles
from data.store.prepared import prepare
from data.store.remote import RemotePath, as_path, open_binary
from settings.flag_types import frame_side, thread_count

SPLITS = ("train", "val")


def share_of(text: str) -> tuple[int, int]:
    """Parse `i/n`, the i-th of n shares, counted from 0."""
    try:
        share, shares = (int(part) for part in text.split("/"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form i/n")
    if not 0 <= share < shares:
        raise argparse.ArgumentTypeError(f"{text!r} must have 0 <= i < n")
    return share, shares


def parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = argparse.ArgumentParser(
        prog="python -m prepare",
        description="Decode a dataset ahead of time into a folder to train from.",
        allow_abbrev=False,
    )
    add = parser.add_argument_group("data").add_argument
    add("--DR", metavar="ROOT", required=True, help="dataset folder or URL, as for the Trainer")
    add("--out", required=True, help="folder to write; give it to Trainer and Tester as --DR")
    add("--frame_H", type=frame_side, default=32, help="frame height in pixels (default: 32)")
    add("--frame_W", type=frame_side, default=64, help="frame width in pixels (default: 64)")
    add = parser.add_argument_group("work").add_argument
    add("--num_workers", type=thread_count, help="decoding threads (default: one per core)")
    add(
        "--shard",
        type=share_of,
        default=(0, 1),
        metavar="i/n",
        help="do the i-th of n shares only (from 0), for n processes on any machines",
    )
    return parser


@exit_on_user_error
def main() -> None:
    args = parser().parse_args()
    root, out = as_path(args.DR), Path(args.out)
    if not root.is_dir():
        raise UserError(f"--DR {root}: no such folder")
    try:
        for split in SPLITS:
            if (root / split).is_dir():
                prepare_split(root, out, split, args)
        if args.shard[0] == 0:
            if (root / "train" / "cuts.txt").exists():
                copy(root / "train" / "cuts.txt", out / "train" / "cuts.txt")
            if (root / "test").is_dir():
                copy(root / "test", out / "test")
    except OSError as error:
        raise UserError(f"--out {out}: {why(error)}") from None


def prepare_split(root: Path, out: Path, split: str, args: argparse.Namespace) -> None:
    """Prepare the frames and the pose images of a split."""
    pair = paired(*map(PictureFiles.in_folder, split_folders(root, split)))
    for pictures in (pair.images, pair.poses):
        target = out / split / pictures.folder.name
        made, shards = prepare(
            pictures, target, args.frame_H, args.frame_W, args.num_workers, args.shard
        )
        print(f"{target}: {len(pictures)} frames in {shards} shards, {made} of them made now")


def copy(source: Path | RemotePath, target: Path) -> None:
    """Copy a file or a folder, of any kind, that is not there in this size yet."""
    if source.is_dir():
        for entry in source.iterdir():
            copy(entry, target / entry.name)
    elif not target.exists() or target.stat().st_size != source.stat().st_size:
        with open_binary(source) as opened, atomic_write(target) as file:
            shutil.copyfileobj(opened, file)


if __name__ == "__main__":
    main()
