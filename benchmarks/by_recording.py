"""How well is a recording predicted that was never trained on?

`python -m benchmarks.by_recording --DR ROOT --out RUNS` leaves one recording out at a time, as
train/cuts.txt tells them apart: trains on the others, rolls that one out from its first frame, and
prints a Markdown table of the PSNR of each and their mean. With `--ckpt_path` it scores runs that
were trained so, each on the recording that is its --holdout.
"""

import argparse

import numpy as np

from benchmarks import dance_models as models
from core.errors import UserError, exit_on_user_error
from data.dance import DanceData
from data.windows import Recording, split_into_recordings
from engine.evaluation.scoring import copy_last, nearest_pose_prediction
from settings.flags import tester_parser
from settings.resolve import make_settings


def recordings_of(root: str) -> list[Recording]:
    """Return the recordings as frame numbers, [A, B) each. Raises UserError where there is one."""
    data = DanceData(make_settings(tester_parser(), {"DR": root}))
    numbers = data.train.numbers
    found = split_into_recordings(numbers, data.cuts)
    if len(found) < 2:
        raise UserError(f"--DR {root}: one recording only; train/cuts.txt says where others begin")
    return [(int(numbers[a]), int(numbers[b - 1]) + 1) for a, b in found]


def baselines(root: str, recording: Recording) -> list[float]:
    """Return the PSNR in dB of repeating the first frame and of the nearest pose of the others."""
    data = DanceData(make_settings(tester_parser(), {"DR": root, "holdout": recording}))
    clips, train = data.validation_clips()["holdout"], data.training_frames()
    found = (
        [models.psnr_of(clip, copy_last(clip)) for clip in clips],
        [models.psnr_of(clip, nearest_pose_prediction(clip, *train)) for clip in clips],
    )
    return [float(np.concatenate(scores).mean()) for scores in found]


def score(model: models.DanceModel) -> float:
    """Return the mean PSNR in dB of the recording that a model has held out."""
    return float(np.concatenate(model.scores(model.data.validation_clips()["holdout"])).mean())


def held_out(model: models.DanceModel, recordings: list[Recording]) -> Recording:
    """Return which recording a model has held out. Raises UserError where it is none of them."""
    holdout = tuple(model.settings.holdout or ())
    if holdout not in recordings:
        said = ", ".join(f"{a}:{b}" for a, b in recordings)
        raise UserError(f"--ckpt_path {model.path}: its --holdout is none of the recordings {said}")
    return holdout


@exit_on_user_error
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    models.add_model_flags(parser)
    given = parser.parse_args()
    recordings = recordings_of(given.DR)
    scores = {}  # by column and recording, one for each seed
    for path in given.ckpt_path:
        model = models.DanceModel(path, given.DR)
        column = scores.setdefault("--ckpt_path", {recording: [] for recording in recordings})
        column[held_out(model, recordings)].append(score(model))
    for flags in models.recipes(given):
        column = scores.setdefault(models.name_of(flags), {})
        for a, b in recordings:
            runs = [
                models.train(given.DR, given.out, seed, f"--holdout {a}:{b}", flags)
                for seed in given.seeds
            ]
            column[a, b] = [score(models.DanceModel(run, given.DR)) for run in runs]

    plain = {recording: baselines(given.DR, recording) for recording in recordings}
    rows = [
        [
            f"{r[0]}–{r[1] - 1}",
            *plain[r],
            *(models.by_seed(column[r]) for column in scores.values()),
        ]
        for r in recordings
    ]
    means = [[np.mean(column[r]) if column[r] else np.nan for r in recordings]
             for column in scores.values()]  # fmt: skip
    means = [*zip(*plain.values()), *means]
    rows.append(["mean", *(float(np.mean(values)) for values in means)])
    print("\nPSNR in dB of each recording by models that were trained on the others\n")
    print(models.markdown(["frames", "first frame", "nearest pose", *scores], rows))


if __name__ == "__main__":
    main()
