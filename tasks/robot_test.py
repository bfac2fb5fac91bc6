"""The test of the robot: samples of every sequence, their scores and their pictures."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from tqdm import tqdm

from core import distributed
from core.device import Compute
from core.files import atomic_write
from core.words import number_of
from data.types import Clip
from engine.checkpoints.checkpoint import Checkpoint
from engine.checkpoints.results_folder import open_results_folder
from engine.evaluation.sampling import Sampled, sample, sequence_table, step_table, summary_table
from engine.output.sample_pictures import write_pictures
from report.results import about_test, leave_results
from report.rollout_figures import rollout_figures
from report.rollouts import from_samples
from report.sampling import sample_steps
from report.style import write_png

PICTURED = 8  # sequences that GIFs are written of, and that the page plays


def sample_test(task, checkpoint: Checkpoint, compute: Compute) -> None:
    """Sample every sequence; write scores, tables and pictures into `--save_root`.

    task: a `tasks.robot.RobotTask` whose model has the weights of the checkpoint.
    """
    settings, folder = task.settings, Path(task.settings.save_root)
    split = "test" if settings.split == "test" else "validate"
    clips = distributed.local_main_process_first(partial(task.data.clips, split))
    distributed.broadcast_from_main(
        partial(open_results_folder, folder, checkpoint, overwrite=settings.overwrite)
    )
    samples = settings.num_samples or (100 if compute.device.type == "cuda" else 20)
    sampled = sample_shares(task, clips, samples, compute)
    if not distributed.is_main():
        return
    about = about_test(checkpoint.path, settings, [c.path for c in checkpoint.others])
    rollouts = [from_samples(one, about) for one in sampled[:PICTURED]]
    write_pictures(folder, sampled[:PICTURED], video=settings.video)
    print(f"{folder}: {min(PICTURED, len(clips))} of {number_of(len(clips), 'sequence')} as GIFs")

    figure = score_samples(folder, sampled, samples)
    strips = rollout_figures({about["run"]: rollouts[:1]}) if not settings.no_report else {}
    strips = {name: shown for name, shown in strips.items() if name.startswith("strip_")}
    leave_results(folder, rollouts, {"samples": figure} | strips, page=not settings.no_report)


def sample_shares(
    task, clips: Sequence[Clip], samples: int, compute: Compute
) -> list[Sampled] | None:
    """Sample the clips, shared out over the processes; return all of it in every process."""
    settings = task.settings
    own = distributed.rank_indices(len(clips))
    sampling = sample(
        task.tested_model(compute),
        clips,
        samples=samples,
        compute=compute,
        z=settings.latent,
        temperature=settings.temperature,
        seed=settings.seed,
        only=own,
    )
    disable = None if distributed.is_main() else True
    sampling = tqdm(sampling, "sampling", len(own), unit="sequence", disable=disable)
    shares = [  # the frames of all would fill the memory
        one if number < PICTURED else replace(one, shown={}) for number, one in zip(own, sampling)
    ]
    return distributed.gather_objects(shares, len(clips))


def score_samples(folder: Path, sampled: Sequence[Sampled], samples: int):
    """Write and print the tables; return the figure of the scores by step, written as well."""
    by_step, by_sequence = step_table(sampled), sequence_table(sampled)
    summary = summary_table(by_sequence)
    summary = summary.rename(index={"best": f"best of {samples}", "mean": f"mean of {samples}"})
    for name, table, index in (
        ("steps.csv", by_step, False),
        ("sequences.csv", by_sequence, True),
        ("summary.csv", summary, True),
    ):
        with atomic_write(folder / name) as file:
            table.to_csv(file, index=index, float_format="%.6g")
    figure = sample_steps(by_step, samples)
    write_png(figure, folder / "scores.png")
    clip = sampled[0].clip
    print(
        f"PSNR in dB and SSIM over frames {clip.n_past} to {len(clip) - 1} of {len(sampled)} "
        "sequences, with half the width of the 95 % interval; the posterior (oracle) has seen "
        f"the truth:\n{summary.to_string(float_format=lambda value: f'{value:.4g}')}"
    )
    return figure
