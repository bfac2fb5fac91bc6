"""The robot model with its data behind it, as the scripts train and test it."""

from argparse import Namespace
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

from core import distributed
from core.device import choose_compute
from core.files import atomic_write
from data.types import Clip
from dataloader import RobotWindows, robot_clips, robot_data_digest
from engine.checkpoints import checkpoint
from engine.checkpoints.run_folder import open_results_folder
from engine.evaluation.sampling import sample, sequence_table, step_table, summary_table
from engine.evaluation.scoring import copy_last, mean_psnr
from engine.output.sample_pictures import write_pictures
from engine.training.stages import Stages
from modules.svg import SVG, SVGConfig
from report.results import about_test, leave_results
from report.rollout_figures import rollout_figures
from report.rollouts import from_samples
from report.sampling import sample_steps
from report.style import write_png
from tasks.stored_models import seeded_weights, stored_config

PICTURED = 8  # sequences that GIFs are written of, and that the page plays


class Robot_Model(Stages, SVG):
    """`modules.svg.SVG` with the stages of a run. `args` are settings of `--model svg`."""

    def __init__(self, args: Namespace):
        with seeded_weights(args.seed):
            super().__init__(SVGConfig.from_settings(args))
        self.begin_stages(args)

    def training_data(self, device: torch.device) -> RobotWindows:
        return RobotWindows(self.args, device)

    def data_digest(self) -> str:
        return robot_data_digest(self.args)

    def validation_sets(self) -> dict[str, list[Clip]]:
        return {"validate": robot_clips(self.args, "validate", self.args.val_sequences or None)}

    def baselines(self, sets: dict[str, list[Clip]]) -> dict[str, float]:
        """Copying the last known frame, which is in the log beside every score already."""
        for name, clips in sets.items():
            copied = mean_psnr(clips, map(copy_last, clips))
            print(f"baselines on {name}: copying the last known frame {copied:.2f} dB")
        return {}


class Robot_Test(SVG):
    """The model of a checkpoint, with the test: samples, their scores and their pictures."""

    def __init__(self, args: Namespace, content: dict, path: Path):
        super().__init__(SVGConfig(**stored_config(content, path)))
        checkpoint.load_weights(self, content, path)
        self.args, self.content, self.path = args, content, path
        self.eval()

    def test_stage(self) -> None:
        """Sample every sequence; write scores, tables and pictures into `args.save_root`."""
        args, folder = self.args, Path(self.args.save_root)
        split = "test" if args.split == "test" else "validate"
        clips = distributed.local_main_process_first(partial(robot_clips, args, split))
        distributed.broadcast_from_main(
            partial(open_results_folder, folder, self.path, self.content, overwrite=args.overwrite)
        )
        device = next(self.parameters()).device
        compute = choose_compute(device, args.precision, args.compile)
        compute.prepare(self)
        samples = args.num_samples or (100 if device.type == "cuda" else 20)
        own = distributed.rank_indices(len(clips))
        sampling = sample(
            self,
            clips,
            samples=samples,
            compute=compute,
            z=args.z,
            temperature=args.temperature,
            seed=args.seed,
            only=own,
        )
        disable = None if distributed.is_main() else True
        sampling = tqdm(sampling, "sampling", len(own), unit="sequence", disable=disable)
        shares = [  # the frames of all would fill the memory
            one if number < PICTURED else replace(one, shown={})
            for number, one in zip(own, sampling)
        ]
        sampled = distributed.gather_objects(shares, len(clips))
        if not distributed.is_main():
            return
        about = about_test(self.path, args)
        rollouts = [from_samples(one, about) for one in sampled[:PICTURED]]
        write_pictures(folder, sampled[:PICTURED], video=args.video)
        print(f"{folder}: {min(PICTURED, len(clips))} of {len(clips)} sequences as GIFs")

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
        frames = f"frames {clips[0].n_past} to {len(clips[0]) - 1}"
        print(
            f"PSNR in dB and SSIM over {frames} of {len(clips)} sequences, with half the width of "
            "the 95 % interval; the posterior has seen the truth:\n"
            f"{summary.to_string(float_format=lambda value: f'{value:.4g}')}"
        )
        strips = rollout_figures({about["run"]: rollouts[:1]}) if not args.no_report else {}
        strips = {name: drawn for name, drawn in strips.items() if name.startswith("strip_")}
        leave_results(folder, rollouts, {"samples": figure} | strips, page=not args.no_report)
