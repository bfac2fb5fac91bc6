"""The flags of both scripts, their help and their checks; every flag of the labs under its name.

Spec lab4, "The flags everyone uses"; the other spellings are those of spec lab5. Flags of the robot
model alone are in settings/robot_flags.py.
"""

import argparse
from argparse import ArgumentParser, BooleanOptionalAction
from collections.abc import Callable

from settings.flag_types import (
    count,
    fraction,
    frame_count,
    frame_side,
    natural,
    non_negative,
    number,
    positive,
    probability,
)
from settings.presets import PRESETS
from settings.robot_flags import add_robot_flags

# ------------------------------------------------------------------ value types


def frame_range(text: str) -> tuple[int, int]:
    """Parse `A:B`, frame numbers from A up to but not including B."""
    try:
        start, stop = (int(part) for part in text.split(":"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form A:B (frame numbers)")
    if not 0 <= start < stop <= 10**9:
        raise argparse.ArgumentTypeError(f"{text!r} must have 0 <= A < B, of nine digits at most")
    return start, stop


def path_text(text: str) -> str:
    """Parse the path of a file or folder: an empty one, of a shell variable not set, is none."""
    if not text:
        raise argparse.ArgumentTypeError("an empty path; is a variable of the shell not set?")
    return text


def kl_anneal_type(text: str) -> str:
    """Parse the annealing type; `Without` is another spelling of `None`."""
    names = {n.lower(): n for n in ("Cyclical", "Monotonic", "None")} | {"without": "None"}
    if text.lower() not in names:
        raise argparse.ArgumentTypeError(f"{text!r} is not Cyclical, Monotonic or None")
    return names[text.lower()]


def kl_anneal_ratio(text: str) -> float:
    """Parse the part of a cycle that climbs; a number above 1 is how often it fits into one."""
    ratio = positive(text)
    return 1 / ratio if ratio > 1 else ratio


OPTIMIZERS = ["Adam", "AdamW", "RMSprop", "Muon"]


def optimizer_name(text: str) -> str:
    """Parse an optimizer in any case (the robot lab writes `adam`)."""
    return {name.lower(): name for name in OPTIMIZERS}.get(text.lower(), text)


# ------------------------------------------------------------------------ flags


def _add_shared_flags(parser: ArgumentParser) -> None:
    """Add every flag that both scripts take."""
    add = parser.add_argument_group("data").add_argument
    add(
        "--DR",
        "--data_root",
        type=path_text,
        metavar="ROOT",
        help="dataset folder: holds train/, val/ and test/",
    )
    add("--frame_H", type=frame_side, default=32, help="frame height in pixels")
    add("--frame_W", type=frame_side, default=64, help="frame width in pixels")
    add("--train_vi_len", type=frame_count, default=16, help="frames of a training window")
    add(
        "--val_vi_len",
        type=frame_count,
        default=630,
        help="frames of a validation sequence",
    )
    add("--partial", type=fraction, default=1.0, help="use this first part of the training frames")
    add(
        "--fast_train",
        action=BooleanOptionalAction,
        default=False,
        help="use --fast_partial in the first epochs",
    )
    add("--fast_partial", type=fraction, default=0.4, help="the part --fast_train uses")
    add("--fast_train_epoch", type=natural, default=5, help="how many epochs --fast_train lasts")
    add(
        "--fixed_windows",
        action=BooleanOptionalAction,
        default=False,
        help="cut windows at multiples of train_vi_len",
    )
    add(
        "--holdout",
        type=frame_range,
        metavar="A:B",
        help="leave training frames numbered A to B-1 out and validate on them as well",
    )
    add(
        "--cache_dir",
        type=path_text,
        help="folder of decoded frames (default: the user's cache folder)",
    )
    add(
        "--augment",
        action=BooleanOptionalAction,
        default=False,
        help="mirror, move and lean the person before the room, which must be still",
    )
    add(
        "--mirror",
        type=probability,
        default=0.5,
        help="ratio of windows that --augment mirrors; 0 where light or clothes have a side",
    )
    add(
        "--num_workers",
        type=number(int, 0, 256),
        help="image decoding threads (default: one per core)",
    )

    add = parser.add_argument_group("run").add_argument
    add(
        "--model",
        choices=list(PRESETS),
        default="dance",
        help="dance: the CVAE of pose images; svg: the robot model, with LSTMs",
    )
    add("--save_root", "--log_dir", type=path_text, help="folder for everything the run writes")
    add("--ckpt_path", "--model_dir", type=path_text, help="checkpoint to use, or a run folder")
    presets = list(dict.fromkeys(name for named in PRESETS.values() for name in named))
    add("--preset", choices=presets, default="lab", help="defaults for the flags below")
    add("--seed", type=natural, default=0, help="seed of every random draw")
    add("--device", default="auto", help="auto (CUDA, then MPS, then CPU), cpu, cuda, cuda:N, mps")
    add(
        "--precision",
        choices=["auto", "fp32", "bf16"],
        default="auto",
        help="of convolutions; losses are always fp32. auto: bf16 where the hardware has it",
    )
    add(
        "--compile",
        choices=["auto", "on", "off"],
        default="auto",
        help="compile the networks with torch.compile; auto: on CUDA, where it pays",
    )
    add("--gpu", type=int, help="accepted and ignored, as in the lab; see --device")
    add("--cuda", action="store_true", help="accepted and ignored, as in the lab; see --device")

    add = parser.add_argument_group("model").add_argument
    add("--F_dim", type=number(int, 8, 4096), default=128, help="frame feature channels")
    add("--L_dim", type=number(int, 2, 4096), default=32, help="pose feature channels")
    add("--N_dim", type=number(int, 4, 4096), default=12, help="latent channels")
    add("--D_out_dim", type=number(int, 8, 4096), default=192, help="fused feature channels")
    add(
        "--output_activation",
        choices=["sigmoid", "clamp", "none"],
        default="sigmoid",
        help="what follows the Generator",
    )
    add(
        "--scene",
        action=BooleanOptionalAction,
        default=False,
        help="learn what all frames share, such as the room, place by place",
    )
    add("--patch", type=int, choices=[1, 2, 4], default=1, help="space to depth before networks")

    add = parser.add_argument_group("optimization").add_argument
    add("--num_epoch", "--niter", type=count, default=70, help="epochs; the schedules span them")
    add(
        "--minutes",
        type=positive,
        help="train for this time instead; the schedules of --num_epoch are stretched over it",
    )
    add("--batch_size", type=count, default=2, help="windows of a step")
    add(
        "--optim",
        "--optimizer",
        type=optimizer_name,
        choices=OPTIMIZERS,
        default="AdamW",
        help="optimizer; Muon leaves what is no matrix to AdamW",
    )
    add("--beta1", type=probability, default=0.9, help="decay of Adam's mean gradient")
    add("--lr", type=positive, default=1e-4, help="learning rate at the start")
    add("--weight_decay", type=non_negative, help="default: 0.01 for AdamW and Muon, 0 otherwise")
    add(
        "--lr_schedule",
        choices=["cosine", "multistep", "step", "exponential", "constant"],
        default="cosine",
        help="shape of the learning rate over the epochs",
    )
    add(
        "--lr_milestones",
        type=count,
        nargs="+",
        default=[2, 5],
        metavar="EPOCH",
        help="epochs at which multistep decays",
    )
    add("--lr_step_size", type=count, default=10, help="epochs between decays of step")
    add("--lr_gamma", type=fraction, default=0.1, help="factor of a decay")
    add("--lr_warmup", type=natural, default=0, help="steps over which the rate rises linearly")
    add("--max_norm", type=positive, default=1.0, help="clip the gradient at this norm")
    add(
        "--bptt",
        type=natural,
        default=0,
        help="predictions a gradient passes back through (0: each prediction is detached)",
    )

    add = parser.add_argument_group("teacher forcing").add_argument
    add("--tfr", type=probability, default=1.0, help="ratio at the start")
    add(
        "--tfr_sde",
        "--tfr_start_decay_epoch",
        type=natural,
        default=10,
        help="epoch that starts the decay",
    )
    add("--tfr_d_step", "--tfr_decay_step", type=probability, default=0.1, help="decay per epoch")
    add(
        "--tfr_lower_bound",
        type=probability,
        default=0.0,
        help="ratio at which the decay ends: once there, it is 0",
    )
    add(
        "--tfr_coin",
        choices=["epoch", "batch", "step"],
        default="epoch",
        help="what one toss decides for (the lab: a whole epoch)",
    )

    add(
        "--replay",
        action=BooleanOptionalAction,
        default=False,
        help="draw from the kept prediction of the frame before instead of rolling windows out",
    )

    add(
        "--stray",
        type=probability,
        default=0.0,
        help="ratio of windows that --replay draws from the frame of another one, "
        "so that the pose has the last word",
    )

    add = parser.add_argument_group("KL annealing").add_argument
    add(
        "--kl_anneal_type",
        type=kl_anneal_type,
        default="Cyclical",
        metavar="{Cyclical,Monotonic,None}",
        help="how the KL weight climbs (Without is another spelling of None)",
    )
    add(
        "--kl_anneal_cyclical",
        dest="kl_anneal_type",
        action="store_const",
        const="Cyclical",
        default="Cyclical",
        help="--kl_anneal_type Cyclical",
    )
    add("--kl_anneal_cycle", type=count, default=10, help="number of cycles over the run")
    add(
        "--kl_anneal_ratio",
        type=kl_anneal_ratio,
        default=1.0,
        help="part of a cycle that climbs; above 1, its inverse, so that 2 is half a cycle",
    )
    add("--kl_anneal_start", type=non_negative, default=0.0, help="weight at the start of a cycle")
    add(
        "--kl_anneal_stop",
        "--beta",
        type=non_negative,
        default=1.0,
        help="weight at the top. The KL is a sum over N*H*W terms against a mean over pixels: "
        "at 1 the latent carries nothing, near 1e-6 it does (docs/method.md)",
    )

    add = parser.add_argument_group("prediction").add_argument
    add(
        "--z",
        choices=["sample", "mean"],
        default="sample",
        help="latent at test time: a sample of the prior, or its mean",
    )
    add("--temperature", type=non_negative, default=1.0, help="scale of the sampled latent")

    add_robot_flags(parser)


def _add_trainer_flags(parser: ArgumentParser) -> None:
    add = parser.add_argument_group("training").add_argument
    add("--per_save", type=count, default=3, help="write epoch=N.ckpt every so many epochs")
    add("--per_val", type=count, default=1, help="validate every so many epochs, and at the end")
    add(
        "--resume",
        choices=["auto", "never"],
        default="auto",
        help="auto: go on where --save_root holds a run with these settings; never: begin anew",
    )
    add("--save_every_minutes", type=positive, default=1.0, help="minutes between resume points")
    add(
        "--keep",
        type=number(int, 1, 1000),
        default=2,
        help="resume points to keep: last.ckpt and those before",
    )
    add(
        "--warm_start",
        type=path_text,
        metavar="CKPT",
        help="start from the weights of this checkpoint alone",
    )
    add("--test", action="store_true", help="validate --ckpt_path and stop")
    add = parser.add_argument_group("logging").add_argument
    add("--wandb", "--use_wandb", action="store_true", help="log to Weights & Biases")
    add("--wandb_id", help="id of the wandb run (default: that of the run folder, else a new one)")
    add("--wandb_artifacts", action="store_true", help="send best.ckpt and last.ckpt to wandb")
    add("--tensorboard", action="store_true", help="write TensorBoard files into the run folder")
    add("--store_visualization", action="store_true", help="keep the GIF of every validation")


def _add_tester_flags(parser: ArgumentParser) -> None:
    add = parser.add_argument_group("testing").add_argument
    add("--split", choices=["test", "val"], default="test", help="which sequences to roll out")
    add(
        "--GT",
        type=path_text,
        metavar="DIR",
        help="true test frames, K/N.png (default: test/test_gt if there)",
    )
    add(
        "--overwrite",
        action="store_true",
        help="replace the results of another run in --save_root, or the file of an --export",
    )
    add(
        "--export_lab",
        type=path_text,
        metavar="FILE",
        help="write the checkpoint as the lab's code loads it",
    )
    add(
        "--export_safetensors",
        type=path_text,
        metavar="FILE",
        help="write the weights and their settings as .safetensors, to test, play or warm-start",
    )
    add("--no_report", action="store_true", help="write no report.html and no scores.png")
    add("--no_sanity", action="store_true", help="accepted and ignored, as in the lab")
    add("--make_gif", action="store_true", help="accepted; GIFs are always written")


def trainer_parser() -> ArgumentParser:
    """Return the parser of Trainer.py."""
    return _parser("Train a model for conditional video prediction.", _add_trainer_flags)


def tester_parser() -> ArgumentParser:
    """Return the parser of Tester.py, which takes every flag of the Trainer as well."""
    return _parser(
        "Roll a checkpoint out: GIFs, submission.csv and, where the truth is known, scores.",
        _add_tester_flags,
        _add_trainer_flags,
    )


class HelpFormatter(argparse.HelpFormatter):
    """Adds the default to the help of a flag that has one to speak of."""

    def _get_help_string(self, action: argparse.Action) -> str:
        unspoken = action.default is None or isinstance(action.default, bool)
        if unspoken or action.default is argparse.SUPPRESS or "default" in action.help:
            return action.help
        if isinstance(action.default, list):
            return f"{action.help} (default: {' '.join(map(str, action.default))})"
        return f"{action.help} (default: {action.default})"


def _parser(description: str, *parts: Callable[[ArgumentParser], None]) -> ArgumentParser:
    parser = ArgumentParser(
        usage="%(prog)s --DR ROOT [flags]",
        description=description,
        allow_abbrev=False,
        formatter_class=HelpFormatter,
    )
    for add_flags in (_add_shared_flags, *parts):
        add_flags(parser)
    return parser
