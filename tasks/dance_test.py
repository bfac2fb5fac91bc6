"""The test of the dance: every sequence rolled out, scored where the truth is known, and shown."""

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from core import distributed
from core.device import Compute
from core.files import atomic_write
from core.words import number_of
from data.pose.filling import fill_poses
from data.types import Clip
from engine.checkpoints.checkpoint import Checkpoint
from engine.checkpoints.results_folder import open_results_folder
from engine.evaluation.poses import PoseCurves, chance_correlation, pose_curves, rank_correlation
from engine.evaluation.rollout import rollout_all
from engine.evaluation.scoring import (
    CPU,
    Scores,
    drift_table,
    kaggle_psnr,
    kaggle_summary,
    retrieved,
    score,
)
from engine.output.pictures import side_by_side, view_scale, write_strip, write_submission
from engine.output.video import check_video, write_video
from engine.output.watching import counted, each, watched
from report.results import about_test, leave_results
from report.rollout_figures import rollout_figures
from report.rollouts import from_prediction
from report.style import write_png
from settings.resolve import Settings

LARGEST_ROW = 3 * 64 * 128  # values of a frame; a row of submission.csv for each is no table


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
    if settings.fill_poses:
        clips = with_filled_poses(clips, settings.fill_poses)
    task.settle_output(checkpoint, lambda: clips[0])
    with watched(number_of(len(clips), "sequence")) as watch:
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
    films = " and MP4s" if settings.video == "mp4" else ""
    written = f"{number_of(len(clips), 'sequence')} as GIFs{films}"
    if settings.split == "test" and predictions[0][0].numel() > LARGEST_ROW:
        written += (
            f", no submission.csv: the lab's frames are 32×64, these "
            f"{settings.frame_H}×{settings.frame_W}"
        )
    elif settings.split == "test":
        write_submission(folder / "submission.csv", predictions)
        rows = sum(len(predicted) for predicted in predictions)
        written += f", submission.csv with {rows} rows"
    print(f"{folder}: {written}")
    scored = score_clips(task, clips, predictions, folder, compute.device)
    about = about_test(checkpoint.path, settings, [one.path for one in checkpoint.others])
    show_clips(clips, predictions, scored, about, settings)


def score_clips(
    task,
    clips: Sequence[Clip],
    predictions: Sequence[Tensor],
    folder: Path,
    device: torch.device = CPU,
) -> dict[str, tuple[Scores, PoseCurves]]:
    """Score the clips whose true frames are known: tables, printed and as CSV; by sequence.

    Scores are computed on the device.
    """
    known = [(c, p) for c, p in zip(clips, predictions) if c.has_truth]
    if not known:
        print("without scores, which need true frames (test/test_gt/K/N.png, or --GT)")
        return {}
    scores = [score(clip, predicted, device) for clip, predicted in counted("scoring", known)]
    train = task.data.training_frames()
    poses = train[1] if train is not None else None
    curves = [pose_curves(clip, poses, device) for clip, _ in counted("poses", known)]
    summary = pd.DataFrame(
        {
            "psnr": [kaggle_psnr(s.psnr) for s in scores],
            "ssim": [float(s.ssim.mean()) for s in scores],
            "sharpness": [float(s.sharpness.mean()) for s in scores],
            "copy_first_psnr": [kaggle_psnr(s.copy_psnr) for s in scores],
        },
        index=pd.Index([s.name for s in scores], name="sequence"),
    )
    if train is not None:
        nearest = [
            score(clip, retrieved(clip, train[0], of_clip.nearest), device)
            for (clip, _), of_clip in zip(counted("nearest poses", known), curves)
        ]
        summary["nearest_pose_psnr"] = [kaggle_psnr(s.psnr) for s in nearest]
    tables = [pose_table(*pair) for pair in zip(scores, curves)]
    for name in tables[0]:
        pairs = [(-s.psnr, table[name].to_numpy()) for s, table in zip(scores, tables)]
        summary[f"{name}_corr"] = [rank_correlation(*pair) for pair in pairs]
        summary[f"{name}_chance"] = [chance_correlation(*pair) for pair in pairs]
    is_test = task.settings.split == "test"
    rows = {name: kaggle_summary(summary[name].tolist(), is_test) for name in summary}
    summary = pd.concat([summary, pd.DataFrame(rows).rename_axis("sequence")])

    for name, table in (
        ("scores.csv", pd.concat(map(scores_table, scores, tables)).set_index("sequence")),
        ("summary.csv", summary),
        ("drift.csv", drift_table(scores)),
    ):
        with atomic_write(folder / name) as file:
            table.to_csv(file, float_format="%.6g")
    for title, table in (
        (
            "PSNR in dB of frames 1 to 600 (the lab's Kaggle rule); the rest over all. _corr: rank "
            "correlation of the error by frame with how much the pose changes and how far it is "
            "from the nearest training pose; _chance: what unrelated curves reach:",
            summary,
        ),
        ("PSNR in dB along the sequences:", drift_table(scores)),
    ):
        print(f"{title}\n{table.to_string(float_format=lambda value: f'{value:.4g}')}")
    return {s.name: (s, of_clip) for s, of_clip in zip(scores, curves)}


def pose_table(scores: Scores, curves: PoseCurves) -> pd.DataFrame:
    """Return what the poses of the predicted frames do, a row each; columns that are known."""
    columns = {"pose_change": curves.change, "pose_distance": curves.distance}
    known = {n: values[scores.first :] for n, values in columns.items() if values is not None}
    return pd.DataFrame(known)


def scores_table(scores: Scores, poses: pd.DataFrame) -> pd.DataFrame:
    """Return the scores by frame beside what the poses do."""
    return scores.table().join(poses)


def show_clips(
    clips: Sequence[Clip],
    predictions: Sequence[Tensor],
    scored: dict[str, tuple[Scores, PoseCurves]],
    about: dict[str, str],
    settings: Settings,
) -> None:
    """Leave the rollouts as files that the Reporter reads, and show them on a page."""
    folder, page = Path(settings.save_root), not settings.no_report
    rollouts = []
    for clip, predicted in zip(clips, predictions):
        scores, curves = scored.get(clip.name, (None, None))
        rollouts.append(from_prediction(clip, predicted, scores, about, curves))
    figures = rollout_figures({about["run"]: rollouts}) if page else {}
    if "scores" in figures:
        write_png(figures["scores"], folder / "scores.png")
    leave_results(folder, rollouts, figures, page=page)


def clips_of(task) -> list[Clip]:
    """Return the sequences of `--split`."""
    if task.settings.split == "test":
        return task.data.test_clips()
    return [clip for clips in task.data.validation_clips().values() for clip in clips]


def with_filled_poses(clips: Sequence[Clip], longest: int) -> list[Clip]:
    """Return the clips with pose images completed over gaps of up to `longest` frames; said."""
    filled, said = [], []
    for clip in counted("completing poses", clips):
        poses, completed = fill_poses(clip.conditions.permute(0, 2, 3, 1), longest)
        filled.append(dataclasses.replace(clip, conditions=poses.permute(0, 3, 1, 2)))
        said.append(f"{completed:,} of {len(clip):,} of sequence {clip.name}")
    if distributed.is_main():
        print(f"pose images completed: {', '.join(said)}")
    return filled


def write_pictures(folder: Path, clip: Clip, predicted: Tensor, *, video: str = "gif") -> None:
    """Write the GIFs of one sequence, with `--video mp4` MP4s as well, and its strip."""
    write_video(folder / f"pred_seq{clip.name}.gif", predicted, video=video)
    pair = side_by_side(clip.conditions, predicted)
    pair_path = folder / f"pose_pred_seq{clip.name}.gif"
    write_video(pair_path, pair, video=video, scale=view_scale(predicted))
    truth = (clip.frames,) if clip.has_truth else ()
    write_strip(folder / f"strip_seq{clip.name}.png", clip.conditions, *truth, predicted)
