"""Make a synthetic robot-pushing data set in the lab's layout: python -m demo.robot --out DIR"""

import numpy as np
from PIL import Image
from tqdm import tqdm

from demo.dataset import check_counts, in_processes, make_as_asked, make_whole, parser_of
from demo.pushing import play
from demo.table import draw_table

VERSION = 1  # of the pictures: raise it when the same arguments make another set
SPLITS = ("train", "validate", "test")  # the order is part of the seed
FOLDER = 256  # sequences of a folder traj_A_to_B
CHUNK = 8  # sequences handed to a worker at a time


def make_dataset(
    out, seed=0, train_sequences=600, eval_sequences=32, frames=30, num_workers=0, progress=False
):
    """Make a data set in the folder `out`, all of it or nothing.

    The pictures depend on `seed` alone, never on `num_workers` (0 or 1: no process pool). Returns
    False, with nothing made, where `out` already holds the same set. Raises Refusal where it
    holds anything else, or for a number out of range.
    """
    arguments = {
        "version": VERSION,
        "seed": seed,
        "train_sequences": train_sequences,
        "eval_sequences": eval_sequences,
        "frames": frames,
    }
    check_counts(arguments | {"num_workers": num_workers})

    def render(folder):
        jobs = [
            (seed, split, index, frames, folder / split / trajectory(index) / str(index % FOLDER))
            for split in SPLITS
            for index in range(train_sequences if split == "train" else eval_sequences)
        ]
        with tqdm(total=len(jobs), unit="sequence", disable=not progress) as bar:
            for done in in_processes(render_sequences, jobs, CHUNK, num_workers):
                bar.update(done)

    return make_whole(out, arguments, render)


def trajectory(index):
    """The folder of a sequence, by the numbers of those it holds."""
    first = index // FOLDER * FOLDER
    return f"traj_{first}_to_{first + FOLDER - 1}"


def sequence(seed, split, index, frames):
    """One sequence: pictures (T, 64, 64, 3) uint8, actions (T, 4), end-effector positions (T, 3).

    Row t of the actions leads from picture t to picture t + 1.
    """
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    tables, actions, positions = play(rng, frames)
    return np.stack([draw_table(table) for table in tables]), actions, positions


def render_sequences(jobs):
    """Render and save some sequences; returns how many."""
    for seed, split, index, frames, folder in jobs:
        pictures, actions, positions = sequence(seed, split, index, frames)
        folder.mkdir(parents=True)
        for number, picture in enumerate(pictures):
            Image.fromarray(picture).save(folder / f"{number}.png", compress_level=1)
        for name, table in (("actions", actions), ("endeffector_positions", positions)):
            np.savetxt(folder / f"{name}.csv", table, fmt="%.6f", delimiter=",")
    return len(jobs)


def _parser():
    parser = parser_of("demo.robot", __doc__)
    parser.add_argument("--train_sequences", type=int, default=600, help="sequences to train on")
    parser.add_argument(
        "--eval_sequences", type=int, default=32, help="sequences of validate and of test"
    )
    parser.add_argument("--frames", type=int, default=30, help="frames of a sequence")
    return parser


def main():
    make_as_asked(_parser(), make_dataset)


if __name__ == "__main__":
    main()
