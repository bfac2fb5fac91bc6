"""Decode a dataset ahead of time: `python -m prepare --DR ROOT --out FOLDER`. See `--help`.

FOLDER is then given to Trainer and Tester as --DR. It starts them in constant time and needs no
picture any more. Run it again to finish what was interrupted, or after the pictures changed.
"""

if __name__ == "__main__":
    import core.startup  # noqa: F401, while what is below is imported

import argparse
from pathlib import Path

from core.errors import UserError, exit_on_user_error, why
from data.dance_files import Split, paired, split_folders
from data.store import preparation
from data.store.picture_files import PictureFiles
from data.store.prepared import prepare, remove_prepared
from data.store.remote import RemotePath, as_path
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
    check_apart(root, out)
    pairs = {
        split: paired(*map(PictureFiles.in_folder, split_folders(root, split)))
        for split in SPLITS
        if (root / split).is_dir()
    }
    others = files_to_copy(root) if args.shard[0] == 0 else {}
    plan = {"frame_H": args.frame_H, "frame_W": args.frame_W}
    try:
        preparation.begin(out, plan, args.shard)
        for split, pair in pairs.items():
            prepare_split(pair, out, split, args)
        if args.shard[0] == 0:
            for split in set(SPLITS) - set(pairs):
                for folder in split_folders(out, split):
                    remove_prepared(folder)
                    preparation.remove_empty(folder, out)
            preparation.copy_files(others, out)
        missing = preparation.finish(out, plan, args.shard)
    except OSError as error:
        raise UserError(f"--out {out}: {why(error)}") from None
    if missing:
        shares = ", ".join(f"{number}/{args.shard[1]}" for number in missing)
        print(f"{out}: not whole until --shard {shares} is done too")


def check_apart(root: Path | RemotePath, out: Path) -> None:
    """Raise UserError where the folder to write is the one that is read, or in what is copied."""
    place = out.resolve()
    if place == root.resolve() or (root / "test").resolve() in (place, *place.parents):
        raise UserError(f"--out {out}: lies in --DR {root}; choose a folder beside it")


def files_to_copy(root: Path | RemotePath) -> dict[str, Path | RemotePath]:
    """Return what a data set holds besides the frames of its splits, by name."""
    cuts, test = root / "train" / "cuts.txt", root / "test"
    found = {"train/cuts.txt": cuts} if cuts.exists() else {}
    return found | (dict(preparation.files_below(test, "test")) if test.is_dir() else {})


def prepare_split(pair: Split, out: Path, split: str, args: argparse.Namespace) -> None:
    """Prepare the frames and the pose images of a split."""
    for pictures in (pair.images, pair.poses):
        target = out / split / pictures.folder.name
        made, shards = prepare(
            pictures, target, args.frame_H, args.frame_W, args.num_workers, args.shard
        )
        print(f"{target}: {len(pictures)} frames in {shards} shards, {made} of them made now")


if __name__ == "__main__":
    main()
