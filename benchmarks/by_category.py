"""What does a model make of close-ups, kneeling and turned limbs that it was never shown?

`python -m benchmarks.by_category --out DIR` makes the synthetic data of `demo.categories` in
DIR/data, trains on it, rolls the test sequences out, and prints a Markdown table of the PSNR by
category: over the frames in which it is to be seen, and over the others of the same sequence.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import dance_models as models
from core.errors import UserError, exit_on_user_error
from data.dance import DanceData
from demo.categories import TABLE, make_dataset
from engine.evaluation.scoring import copy_last, nearest_pose_prediction
from settings.flags import tester_parser
from settings.resolve import make_settings

DEMO = "--flip_prob 0"  # light and clothes of the synthetic person have a side


def split_by_category(scores: list[np.ndarray], table: pd.DataFrame) -> dict[str, float]:
    """Return the mean PSNR in dB by what is scored; scores hold frame 1 and those after it."""
    means = {}
    for number, rows in table.groupby("sequence"):
        shown = rows.sort_values("frame")["shown"].to_numpy(bool)[1:]
        category = rows["category"].iloc[0]
        for name, here in ((category, shown), (f"{category}: other frames", ~shown)):
            if here.any():
                means[name] = float(scores[number][here].mean())
    return means


@exit_on_user_error
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    models.add_model_flags(parser, data=False)
    parser.add_argument("--data", type=Path, help="the data set (default: OUT/data)")
    parser.add_argument("--train_frames", type=int, default=2000, help="of a new data set")
    parser.add_argument("--sequence_length", type=int, default=400, help="of a new data set")
    given = parser.parse_args()
    if given.data is None and given.out is None:
        raise UserError("--out is missing: the folder of the data set and the runs")
    root = given.data or given.out / "data"
    if not (root / "test" / TABLE).exists():
        make_dataset(root, 0, given.train_frames, given.sequence_length)
    table = pd.read_csv(root / "test" / TABLE)
    data = DanceData(make_settings(tester_parser(), {"DR": str(root)}))
    clips, train = data.test_clips(), data.training_frames()

    paths = {name: [name] for name in given.ckpt_path}
    for flags in models.recipes(given):
        runs = [models.train(str(root), given.out, seed, DEMO, flags) for seed in given.seeds]
        paths[models.name_of(flags)] = runs
    columns = {}
    for name, predict in (
        ("first frame", copy_last),
        ("nearest pose", lambda clip: nearest_pose_prediction(clip, *train)),
    ):
        found = [models.psnr_of(clip, predict(clip)) for clip in clips]
        columns[name] = [split_by_category(found, table)]
    for name, runs in paths.items():
        scored = [models.DanceModel(run, str(root)).scores(clips) for run in runs]
        columns[name] = [split_by_category(found, table) for found in scored]

    what = next(iter(columns.values()))[0]
    rows = [
        [row, *(models.by_seed([seed[row] for seed in column]) for column in columns.values())]
        for row in what
    ]
    print("\nPSNR in dB by category, none of which is in the training frames\n")
    print(models.markdown(["frames", *columns], rows))


if __name__ == "__main__":
    main()
