"""Roll a checkpoint out: `python Tester.py --DR ROOT --save_root OUT --ckpt_path CKPT`.

Writes GIFs, submission.csv, a page to play them and, where the true frames are known, scores.
See `--help`.
"""

from argparse import Namespace
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pandas as pd
from torch import Tensor

from core import distributed
from core.device import choose_compute, choose_device
from core.errors import UserError, exit_on_user_error
from core.files import atomic_write
from data.types import Clip
from dataloader import test_clips, training_frames, validation_clips
from engine.checkpoints import checkpoint
from engine.checkpoints.run_folder import open_results_folder
from engine.evaluation.rollout import rollout_all
from engine.evaluation.scoring import (
    Scores,
    drift_table,
    kaggle_psnr,
    kaggle_summary,
    nearest_pose_prediction,
    score,
)
from engine.output.pictures import (
    VIEW_SCALE,
    side_by_side,
    write_gif,
    write_strip,
    write_submission,
)
from modules.vae import CVAE, CVAEConfig
from report.results import about_test, leave_results
from report.rollout_figures import rollout_figures
from report.rollouts import from_prediction
from report.style import write_png
from settings import resolve as config
from tasks.robot import Robot_Test
from tasks.stored_models import model_of, settle_output_activation, stored_config


@exit_on_user_error
def main() -> None:
    with distributed.joined():
        carry_out(distributed.broadcast_from_main(read_flags))


def carry_out(explicit: dict) -> None:
    """Do what the flags on the command line ask for."""
    path, content = checkpoint.find(explicit["ckpt_path"], prefer=checkpoint.BEST)
    model_name = model_of(content)
    config.check_flags_of_model(explicit, model_name)
    stored = stored_config(content, path) | {"model": model_name}
    config.check_model_flags(explicit, stored, path)
    if "export_lab" in explicit:
        if distributed.is_main():
            overwrite = explicit.get("overwrite", False)
            export_lab(content, Path(explicit["export_lab"]), overwrite=overwrite)
        return
    if "export_safetensors" in explicit:
        if distributed.is_main():
            export_safetensors(content, explicit)
        return
    settings = config.make_settings(
        config.tester_parser(), explicit, config.stored_settings(content, path)
    )
    device = choose_device(settings.device)
    if model_name == "svg":
        Robot_Test(settings, content, path).to(device).test_stage()
        return
    settings.output_activation = explicit.get("output_activation")
    model = Test_model(settings).to(device)
    model.load_checkpoint()
    model.test_stage()


def read_flags(argv: list[str] | None = None) -> dict:
    """Return the flags on the command line; those without which nothing runs are there."""
    explicit = config.parse_explicit(config.tester_parser(), argv)
    if "ckpt_path" not in explicit:
        raise UserError("--ckpt_path is missing: a checkpoint, or the folder of a run")
    exports = explicit.keys() & {"export_lab", "export_safetensors"}
    if "DR" not in explicit and not exports:
        raise UserError("--DR is missing: the dataset folder, which holds test/")
    explicit.setdefault("save_root", "results")
    return explicit


def export_lab(content: dict, path: Path, *, overwrite: bool) -> None:
    """Write a checkpoint that other implementations of the lab load."""
    stored = stored_config(content, path)
    if stored["patch"] != 1 or stored["scene"]:
        raise UserError("--export_lab: the lab's code knows no --patch and no --scene")
    checkpoint.export_lab(content, path, overwrite=overwrite)
    print(f"{path}: {', '.join(checkpoint.LAB_KEYS)}")


def export_safetensors(content: dict, explicit: dict) -> None:
    """Write the weights and their settings, without what names a place on this machine."""
    path = Path(explicit["export_safetensors"])
    checkpoint.export_safetensors(
        content,
        path,
        overwrite=explicit.get("overwrite", False),
        left_out=config.PLACE_FLAGS,
        data=content.get("data") or trained_on(content),
    )
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB, {len(content['state_dict'])} tensors")


def trained_on(content: dict) -> str:
    """Return in words what a run was trained on: the demo's data, else the name of the folder."""
    root = Path(str(content.get("settings", {}).get("DR")))
    return "the demo's data" if (root / "demo.json").is_file() else root.name


class Test_model(CVAE):
    """The model of a checkpoint, with the test's roll-out. `eval()` is that of `nn.Module`.

    `args` is a Namespace of lab flags with `ckpt_path`; widths come from the checkpoint.
    """

    __test__ = False  # a name of the lab, not a test to collect

    def __init__(self, args: Namespace):
        settings = config.complete(args)
        self.path, self.content = checkpoint.find(settings.ckpt_path, prefer=checkpoint.BEST)
        stored = stored_config(self.content, self.path)
        size = {"frame_H": settings.frame_H, "frame_W": settings.frame_W}
        super().__init__(CVAEConfig(**(size | stored)))
        self.args = settings
        self.said = stored.get("output_activation", settings.output_activation)

    def load_checkpoint(self) -> None:
        """Load the weights, strictly, and switch to evaluation mode."""
        checkpoint.load_weights(self, self.content, self.path)
        self.eval()

    def test_stage(self) -> None:
        """Roll every sequence out and write what there is to write into `args.save_root`."""
        args, folder = self.args, Path(self.args.save_root)
        clips = distributed.local_main_process_first(partial(clips_of, args))
        distributed.broadcast_from_main(
            partial(open_results_folder, folder, self.path, self.content, overwrite=args.overwrite)
        )
        settle_output_activation(self, self.said, lambda: clips[0], self.path)
        compute = choose_compute(next(self.parameters()).device, args.precision, args.compile)
        compute.prepare(self)
        predictions = rollout_all(
            self, clips, compute=compute, z=args.z, temperature=args.temperature, seed=args.seed
        )
        if not distributed.is_main():
            return

        with ThreadPoolExecutor() as pool:
            list(pool.map(partial(write_pictures, folder), clips, predictions))
        written = f"{len(clips)} sequences as GIFs"
        if args.split == "test":
            write_submission(folder / "submission.csv", predictions)
            rows = sum(len(predicted) for predicted in predictions)
            written += f", submission.csv with {rows} rows"
        print(f"{folder}: {written}")
        scores = self.score_stage(clips, predictions, folder)
        self.show_stage(clips, predictions, scores, folder)

    def score_stage(
        self, clips: Sequence[Clip], predictions: Sequence[Tensor], folder: Path
    ) -> dict[str, Scores]:
        """Score the clips whose true frames are known: tables, printed and as CSV."""
        known = [(c, p) for c, p in zip(clips, predictions) if c.has_truth]
        if not known:
            print("no true frames to score against (test/test_gt/K/N.png, or --GT)")
            return {}
        scores = [score(clip, predicted) for clip, predicted in known]
        summary = pd.DataFrame(
            {
                "psnr": [kaggle_psnr(s.psnr) for s in scores],
                "ssim": [float(s.ssim.mean()) for s in scores],
                "sharpness": [float(s.sharpness.mean()) for s in scores],
                "copy_first_psnr": [kaggle_psnr(s.copy_psnr) for s in scores],
            },
            index=pd.Index([s.name for s in scores], name="sequence"),
        )
        if (train := training_frames(self.args)) is not None:
            nearest = [score(clip, nearest_pose_prediction(clip, *train)) for clip, _ in known]
            summary["nearest_pose_psnr"] = [kaggle_psnr(s.psnr) for s in nearest]
        is_test = self.args.split == "test"
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

    def show_stage(
        self,
        clips: Sequence[Clip],
        predictions: Sequence[Tensor],
        scores: dict[str, Scores],
        folder: Path,
    ) -> None:
        """Leave the roll-outs as files that the Reporter reads, and show them on a page."""
        about = about_test(self.path, self.args)
        rollouts = [
            from_prediction(clip, predicted, scores.get(clip.name), about)
            for clip, predicted in zip(clips, predictions)
        ]
        page = not self.args.no_report
        figures = rollout_figures({about["run"]: rollouts}) if page else {}
        if "scores" in figures:
            write_png(figures["scores"], folder / "scores.png")
        leave_results(folder, rollouts, figures, page=page)


def clips_of(settings: Namespace) -> list[Clip]:
    """Return the sequences of `--split`."""
    if settings.split == "test":
        return test_clips(settings)
    return [clip for clips in validation_clips(settings).values() for clip in clips]


def write_pictures(folder: Path, clip: Clip, predicted: Tensor) -> None:
    """Write the GIFs and the strip of one sequence."""
    write_gif(folder / f"pred_seq{clip.name}.gif", predicted)
    pair = side_by_side(clip.conditions, predicted)
    write_gif(folder / f"pose_pred_seq{clip.name}.gif", pair, scale=VIEW_SCALE)
    truth = (clip.frames,) if clip.has_truth else ()
    write_strip(folder / f"strip_seq{clip.name}.png", clip.conditions, *truth, predicted)


if __name__ == "__main__":
    main()
