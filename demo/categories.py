"""A dance data set that is tested on what it does not train: python -m demo.categories --out DIR

Training and validation know no close-ups, no kneeling and no turned limbs. Each test sequence has
exactly one of these, and one has none. All true frames are there (test/test_gt), and
test/categories.csv says of every test frame whether its category is to be seen in it.

Pose images are as an estimator gives them: a limb that reaches out of the picture is missing, and
in one more sequence of close-ups half of the frames, in stretches, have few limbs at all.
"""

import csv
from itertools import pairwise

import numpy as np

from data.pose.camera import CAMERA, HEIGHT, WIDTH, project
from data.pose.moves import COLUMN, GESTURES
from data.pose.skeleton import JOINTS, SIDES, joints_of
from demo.dance import give_first_frames, jobs_of, render_all, train_cuts
from demo.dataset import check_counts, make_as_asked, make_whole, parser_of
from demo.motion import Repertoire, dance_of

VERSION = 1  # of the pictures: raise it when the same arguments make another set
TABLE = "categories.csv"  # in test/: sequence, category, frame, shown (0 or 1)
CLOSE = 3.3  # meters from the camera; training stays beyond 3.7
HELD = 0.5  # of the way into a gesture: from there on it is to be seen
STRETCH = (10, 60)  # frames for which an estimator loses limbs, at least and at most

LOST_JOINTS = (
    {name for name in JOINTS if not name.startswith(("mid_hip", "hip", "knee", "ankle"))},  # legs
    {name for name in JOINTS if not name.startswith(("mid_hip", "hip"))},  # the hips alone are left
    {name for name in JOINTS if name.endswith("_right")},
    {name for name in JOINTS if name.endswith("_left")},
)


def is_kneeling(gesture):
    """Whether a gesture bends and raises a thigh: squat, kneel, lunge."""
    return "lean" in gesture and _most(gesture, "thigh") >= 60


def has_turned_limb(gesture):
    """Whether a gesture raises an upper arm above the shoulder, or a leg out of standing."""
    raised_leg = max(_most(gesture, "thigh"), 3 * _most(gesture, "thigh_out")) >= 60
    return not is_kneeling(gesture) and (_most(gesture, "arm_out") >= 105 or raised_leg)


def _most(gesture, limb):
    return max(gesture.get(f"{side}_{limb}", 0) for side in SIDES)


KNEELING = tuple(filter(is_kneeling, GESTURES))
TURNED = tuple(filter(has_turned_limb, GESTURES))
PLAIN = tuple(g for g in GESTURES if g not in KNEELING and g not in TURNED)
FAR = ("far",) * 6 + ("outside",)
TRAINING = Repertoire(FAR, PLAIN)
NEAR = Repertoire(("nearest", "far"), PLAIN)

CLOSE_UPS, LOST, NONE = "close-ups", "close-ups with limbs lost", "none of these"
TESTS = {  # by category; close-ups with limbs lost are the same dance as those without
    CLOSE_UPS: NEAR,
    LOST: NEAR,
    "kneeling": Repertoire(FAR, KNEELING),
    "turned limbs": Repertoire(FAR, TURNED),
    NONE: TRAINING,
}


def make_dataset(
    out, seed=0, train_frames=2000, sequence_length=400, num_workers=0, progress=False
):
    """Make a data set in the folder `out`, all of it or nothing.

    The pictures depend on `seed` alone, never on `num_workers` (0 or 1: no process pool). Returns
    False, with nothing made, where `out` already holds the same set. Raises Refusal where it
    holds anything else, or for a number out of range.
    """
    arguments = {
        "categories": VERSION,
        "seed": seed,
        "train_frames": train_frames,
        "sequence_length": sequence_length,
    }
    check_counts(arguments | {"num_workers": num_workers})

    def render(folder):
        jobs, rows = _plan(folder, arguments)
        render_all(jobs, num_workers, progress)
        give_first_frames(folder)
        with (folder / "test" / TABLE).open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(("sequence", "category", "frame", "shown"))
            table.writerows(rows)

    return make_whole(out, arguments, render)


def sequence(seed, category, frames):
    """Joints (frames, J, 3) of a test sequence, where its category is to be seen (frames,) bool.

    Of "none of these" that is everywhere.
    """
    stream = CLOSE_UPS if category == LOST else category
    rng = np.random.default_rng([seed, 1, list(TESTS).index(stream)])
    motion, held = dance_of(rng, frames, TESTS[category])
    if category == NONE:
        shown = np.ones(frames, bool)
    elif TESTS[category] is NEAR:
        shown = motion[:, COLUMN["z"]] < CLOSE
    else:
        shown = held > HELD
    return joints_of(motion), shown


def lost_in_stretches(rng, shown):
    """For every frame the joints that an estimator loses: in half of those shown, in stretches."""
    lost, frames = [set()] * len(shown), np.flatnonzero(shown)
    start, kind = 0, 0
    while start < len(frames):
        length, pause = rng.integers(*STRETCH, 2, endpoint=True)
        for frame in frames[start : start + length]:
            lost[frame] = LOST_JOINTS[kind % len(LOST_JOINTS)]
        start, kind = start + length + pause, kind + 1
    return lost


def outside(joints):
    """The names of the joints (J, 3) that are not in the picture."""
    place = project(joints)
    inside = ((place >= 0) & (place < (WIDTH, HEIGHT))).all(axis=-1)
    return {name for name, seen in zip(JOINTS, inside) if not seen}


def _plan(root, arguments):
    """Make the folders; return the frames to render (`jobs_of`) and the rows of the table."""
    seed, length = arguments["seed"], arguments["sequence_length"]
    cuts = train_cuts(arguments["train_frames"])
    bounds = [0, *cuts, arguments["train_frames"]]
    train = [
        joints_of(dance_of(np.random.default_rng([seed, 0, k]), end - start, TRAINING)[0])
        for k, (start, end) in enumerate(pairwise(bounds))
    ]
    val = joints_of(dance_of(np.random.default_rng([seed, 2]), length, TRAINING)[0])
    jobs = _jobs(np.concatenate(train), root / "train/train_img", root / "train/train_label")
    (root / "train/cuts.txt").write_text("".join(f"{cut}\n" for cut in cuts))
    jobs += _jobs(val, root / "val/val_img", root / "val/val_label")

    rows = []
    for index, category in enumerate(TESTS):
        joints, shown = sequence(seed, category, length)
        lost = None
        if category == LOST:
            lost = lost_in_stretches(np.random.default_rng([seed, 3]), shown)
            shown = [bool(names) for names in lost]
        places = (root / f"test/test_{kind}/{index}" for kind in ("gt", "label"))
        jobs += _jobs(joints, *places, lost)
        rows += [(index, category, frame, int(seen)) for frame, seen in enumerate(shown)]
    return jobs, rows


def _jobs(joints, image_folder, pose_folder, lost=None):
    """Return the frames to render, without the limbs that reach out of the picture."""
    lost = lost or [set()] * len(joints)
    missed = [names | outside(place) for names, place in zip(lost, joints, strict=True)]
    return jobs_of(joints, CAMERA, image_folder, pose_folder, missed)


def _parser():
    parser = parser_of("demo.categories", __doc__)
    parser.add_argument("--train_frames", type=int, default=2000, help="frames to train on")
    parser.add_argument("--sequence_length", type=int, default=400, help="frames of val and test")
    return parser


def main():
    make_as_asked(_parser(), make_dataset)


if __name__ == "__main__":
    main()
