"""The test of the dance: every sequence rolled out, scored where the truth is known, and shown."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pandas as pd
from torch import Tensor

from core import distributed
from core.device import Compute
from core.files import atomic_write
from data.types import Clip
from engine.checkpoints.checkpoint import Checkpoint
from engine.checkpoints.results_folder import open_results_folder
from engine.evaluation.rollout import rollout_all
from engine.evaluation.scoring import (
    Scores,
    drift_table,
    kaggle_psnr,
    kaggle_summary,
    nearest_pose_prediction,
    score,
)
from engine.output.pictures import VIEW_SCALE, side_by_side, write_strip, write_submission
from engine.output.video import check_video, write_video
from engine.output.watching import counted, each, watched
from report.results import about_test, leave_results
from report.rollout_figures import rollout_figures
from report.rollouts import from_prediction
from report.style import write_png
from settings.resolve import Settings


def roll_out_test(task, checkpoint: Checkpoint, compute: Compute) -> None:
    """Roll every sequence out and write what there is to write into `--save_root`.

    task: a `tasks.dance.DanceTask` whose model has the weights of the checkpoint.
    """
    settings, folder = task.settings, Path(task.settings.save_root)
    check_video(settings.video)
    clips = distributed.local_main_process_first(partial(clips_of, task))
    model = task.tested_model(compute)
    distributed.broadcast_from_main(
        partial(open_results_folder, folder, checkpoint, overwrite=settings.overwrite)
    )
    task.settle_output(checkpoint, lambda: clips[0])
    with watched(f"{len(clips)} sequences") as watch:
        predictions = rollout_all(
            model,
            clips,
            compute=compute,
            z=settings.latent,
            temperature=settings.temperature,
            seed=settings.seed,
            watch=watch,
        )
    if not distributed.is_main():
        return

    with ThreadPoolExecutor() as pool:
        write = partial(write_pictures, folder, video=settings.video)
        list(each("writing pictures", pool.map(write, clips, predictions), len(clips)))
    written = f"{len(clips)} sequences as GIFs{' and MP4s' if settings.video == 'mp4' else ''}"
    if settings.split == "test":
        write_submission(folder / "submission.csv", predictions)
        rows = sum(len(predicted) for predicted in predictions)
        written += f", submission.csv with {rows} rows"
    print(f"{folder}: {written}")
    scores = score_clips(task, clips, predictions, folder)
    about = about_test(checkpoint.path, settings, [one.path for one in checkpoint.others])
    show_clips(clips, predictions, scores, about, settings)


def score_clips(
    task, clips: Sequence[Clip], predictions: Sequence[Tensor], folder: Path
) -> dict[str, Scores]:
    """Score the clips whose true frames are known: tables, printed and as CSV."""
    known = [(c, p) for c, p in zip(clips, predictions) if c.has_truth]
    if not known:
        print("no true frames to score against (test/test_gt/K/N.png, or --GT)")
        return {}
    scores = [score(clip, predicted) for clip, predicted in counted("scoring", known)]
    summary = pd.DataFrame(
        {
            "psnr": [kaggle_psnr(s.psnr) for s in scores],
            "ssim": [float(s.ssim.mean()) for s in scores],
            "sharpness": [float(s.sharpness.mean()) for s in scores],
            "copy_first_psnr": [kaggle_psnr(s.copy_psnr) for s in scores],
        },
        index=pd.Index([s.name for s in scores], name="sequence"),
    )
    if (train := task.data.training_frames()) is not None:
        nearest = [
            score(clip, nearest_pose_prediction(clip, *train))
            for clip, _ in counted("nearest poses", known)
        ]
        summary["nearest_pose_psnr"] = [kaggle_psnr(s.psnr) for s in nearest]
    is_test = task.settings.split == "test"
    rows = {name: kaggle_summary(summary[name].tolist(), is_test) for name in summary}
    summary = pd.concat([summary, pd.DataFrame(rows).rename_axis("sequence")])

    for name, table in (
        ("scores.csv", pd.concat([s.table() for s in scores]).set_index("sequence")),
        ("summary.csv", summary),
        ("drift.csv", drift_table(scores)),
    ):
        with atomic_write(folder / name) as file:
            table.to_csv(file, float_format="%.6g")
    for title, table in (
        ("PSNR in dB of frames 1 to 600 (the lab's Kaggle rule); the rest over all:", summary),
        ("PSNR in dB along the sequences:", drift_table(scores)),
    ):
        print(f"{title}\n{table.to_string(float_format=lambda value: f'{value:.4g}')}")
    return {s.name: s for s in scores}


def show_clips(
    clips: Sequence[Clip],
    predictions: Sequence[Tensor],
    scores: dict[str, Scores],
    about: dict[str, str],
    settings: Settings,
) -> None:
    """Leave the rollouts as files that the Reporter reads, and show them on a page."""
    folder, page = Path(settings.save_root), not settings.no_report
    rollouts = [
        from_prediction(clip, predicted, scores.get(clip.name), about)
        for clip, predicted in zip(clips, predictions)
    ]
    figures = rollout_figures({about["run"]: rollouts}) if page else {}
    if "scores" in figures:
        write_png(figures["scores"], folder / "scores.png")
    leave_results(folder, rollouts, figures, page=page)


def clips_of(task) -> list[Clip]:
    """Return the sequences of `--split`."""
    if task.settings.split == "test":
        return task.data.test_clips()
    return [clip for clips in task.data.validation_clips().values() for clip in clips]


def write_pictures(folder: Path, clip: Clip, predicted: Tensor, *, video: str = "gif") -> None:
    """Write the GIFs of one sequence, with `--video mp4` MP4s as well, and its strip."""
    write_video(folder / f"pred_seq{clip.name}.gif", predicted, video=video)
    pair = side_by_side(clip.conditions, predicted)
    pair_path = folder / f"pose_pred_seq{clip.name}.gif"
    write_video(pair_path, pair, video=video, scale=VIEW_SCALE)
    truth = (clip.frames,) if clip.has_truth else ()
    write_strip(folder / f"strip_seq{clip.name}.png", clip.conditions, *truth, predicted)
