"""What does a model predict where the pose estimator has lost limbs?

`python -m benchmarks.lost_limbs --DR ROOT --ckpt_path RUN …` takes the holdout of trained runs,
damages 15 % of its pose images, in stretches of 10 to 60 frames (`benchmarks/limbs.py`), rolls it
out from its first frame, and prints a Markdown table of the PSNR of those frames, by what is lost,
and of the others, beside that with the pose images completed (`Tester.py --fill_poses 60`), and
with them as they are. Beside it stands what repeating the true frame before each stretch scores.
`--out` trains models first.
"""

import argparse
import dataclasses

import numpy as np

from benchmarks import dance_models as models
from benchmarks.limbs import KINDS, without
from core.errors import UserError, exit_on_user_error
from core.randomness import Stream, numpy_generator
from data.types import Clip
from settings.flag_types import frame_range
from tasks.dance_test import with_filled_poses

SHARE = 0.15  # of the frames
STRETCH = (10, 60)  # frames, at least and at most
WHOLE = "none"
POSES = ("", ", filled", ", whole poses")  # damaged, those completed, undamaged


def stretches(frames: int, seed: int = 0) -> list[tuple[str, slice]]:
    """Return what is lost where: 15 % of the frames after the first, in stretches apart.

    What is lost goes round: all but the hips, all but one side, all. Between two stretches, and
    before the first, lie ten frames at least.
    """
    rng = numpy_generator(seed, Stream.AUGMENTATION, 0)
    least, most = STRETCH
    lengths, left = [], round(SHARE * frames)
    while left >= least:
        missing = max(0, len(KINDS) - 1 - len(lengths))  # one of each kind at least
        fits = left - least * missing
        fits = fits if fits < 2 * least or missing else fits - least  # no rest too short to use
        lengths.append(int(rng.integers(least, max(least, min(most, fits)), endpoint=True)))
        left -= lengths[-1]
    free = frames - 1 - sum(lengths) - least * len(lengths)
    if len(lengths) < len(KINDS) or free < 0:
        raise UserError(f"--holdout: {frames} frames are too few; stretches need some hundred")
    gaps = np.diff(np.sort(rng.integers(0, free, len(lengths), endpoint=True)), prepend=0)
    found, at = [], 1
    for number, (length, gap) in enumerate(zip(lengths, gaps.tolist())):
        first = at + least + gap
        found.append((KINDS[number % len(KINDS)], slice(first, first + length)))
        at = first + length
    return found


def damaged(clip: Clip, lost: list[tuple[str, slice]]) -> Clip:
    """Return the clip with pose images that lack what is lost."""
    poses = clip.conditions.clone()
    for kind, where in lost:
        poses[where] = without(poses[where], kind)
    return dataclasses.replace(clip, conditions=poses)


def split(psnr: np.ndarray, lost: list[tuple[str, slice]]) -> dict[str, float]:
    """Return the mean PSNR in dB by what is lost; psnr holds frame 1 and those after it."""
    kinds = np.full(len(psnr) + 1, WHOLE, object)
    for kind, where in lost:
        kinds[where] = kind
    kinds = kinds[1:]
    means = {"damaged frames": psnr[kinds != WHOLE]}
    means |= {f"lost: {kind}": psnr[kinds == kind] for kind in KINDS}
    means |= {"other frames": psnr[kinds == WHOLE], "all frames": psnr}
    return {name: float(values.mean()) for name, values in means.items() if len(values)}


def scores_of_repeating(clip: Clip) -> dict[str, float]:
    """Return by what is lost the PSNR in dB of the true frame before, shown until all is seen."""
    lost, repeated = stretches(len(clip)), clip.frames.clone()
    for _, where in lost:
        repeated[where] = clip.frames[where.start - 1]
    found = split(models.psnr_of(clip, repeated), lost)
    return {name: psnr for name, psnr in found.items() if name.startswith(("damaged", "lost"))}


def scores_of(model: models.DanceModel) -> dict[str, list[float]]:
    """Return by what is lost the PSNR in dB with pose images of each of `POSES`."""
    clip = model.holdout()
    lost = stretches(len(clip))
    without_limbs = damaged(clip, lost)
    clips = [without_limbs, *with_filled_poses([without_limbs], STRETCH[1]), clip]
    scores = [split(model.scores([c])[0], lost) for c in clips]
    return {name: [means[name] for means in scores] for name in scores[0]}


@exit_on_user_error
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    models.add_model_flags(parser)
    add = parser.add_argument
    add("--holdout", type=frame_range, metavar="A:B", help="frames that trained runs hold out")
    given = parser.parse_args()
    recipes = models.recipes(given)
    if recipes and given.holdout is None:
        raise UserError("--holdout is missing: the frames A:B that the runs to train hold out")
    paths = {name: [name] for name in given.ckpt_path}
    for flags in recipes:
        holdout = "--holdout {}:{}".format(*given.holdout)
        runs = [models.train(given.DR, given.out, seed, holdout, flags) for seed in given.seeds]
        paths[models.name_of(flags)] = runs
    scores = {
        name: [scores_of(models.DanceModel(run, given.DR)) for run in runs]
        for name, runs in paths.items()
    }
    what = next(iter(scores.values()))[0]
    (first, *_), *_ = paths.values()
    repeated = scores_of_repeating(models.DanceModel(first, given.DR).holdout())
    head = ["frames", "frame before"] + [f"{name}{of}" for name in scores for of in POSES]
    rows = [
        [row, repeated.get(row, np.nan)]
        + [
            models.by_seed([s[row][of] for s in seeds])
            for seeds in scores.values()
            for of in range(len(POSES))
        ]
        for row in what
    ]
    print("\nPSNR in dB of the holdout, 15 % of its pose images damaged\n")
    print(models.markdown(head, rows))


if __name__ == "__main__":
    main()
