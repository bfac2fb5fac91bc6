"""The flags of every model, with their help; those of one model are in a file of its own.

Names are the lab's where it has one (docs/lab.md, "Flags"); further spellings are aliases.
"""

import textwrap
from argparse import BooleanOptionalAction

from settings.flag_types import (
    OPTIMIZERS,
    count,
    fraction,
    frame_count,
    frame_range,
    kl_anneal_ratio,
    kl_anneal_type,
    natural,
    non_negative,
    number,
    optimizer_name,
    path_text,
    positive,
    probability,
    renamed,
    thread_count,
)
from settings.models import MODELS
from settings.parsing import FlagParser, Scope

TRAINER_EXAMPLES = """\
examples:
  python Trainer.py --DR ROOT --save_root RUN --preset quick --holdout 2260:2890
      minutes on a laptop; the training frames 2260 to 2889 are kept to validate on
  python Trainer.py --DR ROOT --save_root RUN --preset quick --dry_run
      say what that would do and how long it would take, and stop

"""
UNBROKEN = "\x00"  # stands for a space at which no line is broken
TESTER_EXAMPLES = """\
examples:
  python Tester.py --DR ROOT --save_root RESULTS --ckpt_path RUN
      roll every test sequence out with the best checkpoint of a run
  python Tester.py --DR ROOT --check RESULTS/submission.csv
      look a submission over before it is uploaded

Every flag of Trainer.py is accepted as well (python Trainer.py --help)."""
# Flags that the help of the Tester shows besides its own; what else matters is in the checkpoint.
TESTER_FLAGS = (
    *("DR", "cache_dir", "num_workers", "save_root", "ckpt_path", "seed", "device", "precision"),
    *("compile", "threads", "latent", "temperature", "n_eval", "num_samples"),
)

PLACE, LENGTH, START = Scope.PLACE, Scope.LENGTH, Scope.START


def trainer_parser() -> FlagParser:
    """Return the parser of Trainer.py."""
    parser = _parser("Train a model for conditional video prediction.")
    for spec in MODELS.values():
        parser.add_flags_of(spec.name, spec.add_flags)
    _add_trainer_flags(parser)
    parser.epilog = TRAINER_EXAMPLES + preset_help(parser.defaults)
    return parser


def preset_help(defaults: dict) -> str:
    """Return in words which flags each preset stands for, where --preset lab is the default."""
    lines = ["presets, as the flags that they stand for (without --preset: lab):"]
    for spec in MODELS.values():
        for name, values in spec.presets.items():
            bare = defaults if name == "lab" else defaults | spec.presets.get("lab", {})
            changed = {flag: v for flag, v in (bare | values).items() if v != bare[flag]}
            flags = " ".join(_as_flag(flag, value) for flag, value in changed.items())
            indent = " " * 4
            lines += [f"  --model {spec.name} --preset {name}"]
            lines += textwrap.wrap(
                flags or "(the defaults)",
                width=78,
                initial_indent=indent,
                subsequent_indent=indent,
                break_on_hyphens=False,
            )
    return "\n".join(lines).replace(UNBROKEN, " ")


def _as_flag(name: str, value: object) -> str:
    """Return a setting as it would stand on a command line, in one piece for wrapping."""
    if isinstance(value, bool):
        return f"--{'' if value else 'no-'}{name}"
    return f"--{name}{UNBROKEN}{f'{value:g}' if isinstance(value, float) else value}"


def tester_parser() -> FlagParser:
    """Return the parser of Tester.py, which takes every flag of the Trainer as well.

    Its help shows those that matter to a test.
    """
    parser = _parser(
        "Roll a checkpoint out: GIFs, submission.csv and, where the truth is known, scores."
    )
    _add_tester_flags(parser)
    for spec in MODELS.values():
        parser.add_flags_of(spec.name, spec.add_flags)
        parser.add_flags_of(spec.name, spec.add_test_flags)
    tests = {name for name, group in parser.group_of.items() if group == "testing"}
    _add_trainer_flags(parser)
    parser.hide_all_but({*TESTER_FLAGS, *tests})
    parser.epilog = TESTER_EXAMPLES
    return parser


def _parser(description: str) -> FlagParser:
    parser = FlagParser(usage="%(prog)s --DR ROOT [flags]", description=description)
    _add_data_flags(parser)
    _add_run_flags(parser)
    _add_optimization_flags(parser)
    _add_teacher_forcing_flags(parser)
    _add_kl_flags(parser)
    _add_prediction_flags(parser)
    return parser


def _add_data_flags(parser: FlagParser) -> None:
    add = parser.group("data")
    add(
        "--DR",
        "--data_root",
        type=path_text,
        scope=PLACE,
        metavar="ROOT",
        help="dataset folder: holds train/, val/ and test/",
    )
    add("--train_vi_len", type=frame_count, default=16, help="frames of a training window")
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
        "--holdout",
        type=frame_range,
        metavar="A:B",
        help="leave training frames numbered A to B-1 out and validate on them as well",
    )
    add(
        "--cache_dir",
        type=path_text,
        scope=PLACE,
        help="folder of decoded frames (default: the user's cache folder)",
    )
    add(
        "--num_workers",
        type=thread_count,
        scope=PLACE,
        help="image decoding threads (default: one per core)",
    )


def _add_run_flags(parser: FlagParser) -> None:
    add = parser.group("run", PLACE)
    models = {name: spec.summary for name, spec in MODELS.items()}
    add(
        "--model",
        type=renamed(dance="cvae"),
        choices=list(models),
        default=next(iter(models)),
        scope=Scope.RECIPE,
        help="; ".join(f"{name}: {summary}" for name, summary in models.items()),
    )
    add("--save_root", "--log_dir", type=path_text, help="folder for everything the run writes")
    add(
        "--ckpt_path",
        "--model_dir",
        type=path_text,
        scope=START,
        help="checkpoint to use, or a run folder",
    )
    presets = dict.fromkeys(name for spec in MODELS.values() for name in spec.presets)
    add(
        "--preset",
        type=renamed(best="large"),
        choices=list(presets),
        default="lab",
        help="defaults for the flags below",
    )
    add("--seed", type=natural, default=0, scope=Scope.RECIPE, help="seed of every random draw")
    add("--device", default="auto", help="auto (CUDA, then MPS, then CPU), cpu, cuda, cuda:N, mps")
    add(
        "--precision",
        choices=["auto", "fp32", "bf16"],
        default="auto",
        scope=Scope.RECIPE,
        help="of convolutions; losses are always fp32. auto: bf16 where the hardware has it",
    )
    add(
        "--compile",
        choices=["auto", "on", "off"],
        default="auto",
        help="compile the networks with torch.compile; auto: on CUDA, where it pays",
    )
    add(
        "--threads",
        type=number(int, 1, 1024),
        help="CPU threads (default: one per core; fewer where other work on the cores makes that "
        "clearly quicker; a resumed run has as many as before)",
    )
    add("--gpu", type=int, help="accepted and ignored, as in the lab; see --device")
    add("--cuda", action="store_true", help="accepted and ignored, as in the lab; see --device")


def _add_optimization_flags(parser: FlagParser) -> None:
    add = parser.group("optimization")
    add(
        "--num_epoch",
        "--niter",
        type=count,
        default=70,
        scope=LENGTH,
        help="epochs; the schedules span them",
    )
    add(
        "--minutes",
        type=positive,
        scope=LENGTH,
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
    add(
        "--grad_clip_norm",
        "--max_norm",
        type=positive,
        default=1.0,
        help="clip the gradient at this norm (--max_norm is the lab's spelling)",
    )
    add(
        "--bptt",
        type=natural,
        default=0,
        help="predictions a gradient passes back through (0: each prediction is detached)",
    )


def _add_teacher_forcing_flags(parser: FlagParser) -> None:
    add = parser.group("teacher forcing")
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
        "--tfr_granularity",
        "--tfr_coin",
        choices=["epoch", "batch", "step"],
        default="epoch",
        help="what one toss decides for (the lab: a whole epoch)",
    )
    add(
        "--prediction_buffer",
        "--replay",
        action=BooleanOptionalAction,
        default=False,
        help="predict from the buffered prediction of the frame before instead of rolling "
        "windows out",
    )
    add(
        "--context_swap",
        "--stray",
        type=probability,
        default=0.0,
        help="chance that --prediction_buffer gives a window the previous frame of another one, "
        "so that the pose has the last word",
    )


def _add_kl_flags(parser: FlagParser) -> None:
    add = parser.group("KL annealing")
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


def _add_prediction_flags(parser: FlagParser) -> None:
    add = parser.group("prediction")
    add(
        "--latent",
        "--z",
        choices=["sample", "mean"],
        default="sample",
        help="latent at test time: a sample of the prior, or its mean",
    )
    add("--temperature", type=non_negative, default=1.0, help="scale of the sampled latent")


def _add_trainer_flags(parser: FlagParser) -> None:
    add = parser.group("training", LENGTH)
    add("--per_save", type=count, default=3, help="write epoch=N.ckpt every so many epochs")
    add("--per_val", type=count, default=1, help="validate every so many epochs, and at the end")
    add(
        "--resume",
        choices=["auto", "never"],
        default="auto",
        scope=PLACE,
        help="auto: go on where --save_root holds a run with these settings; never: begin anew",
    )
    add("--save_every_minutes", type=positive, default=1.0, help="minutes between resume points")
    add(
        "--keep_checkpoints",
        "--keep",
        type=number(int, 1, 1000),
        default=2,
        help="resume points to keep: last.ckpt and those before",
    )
    add(
        "--warm_start",
        type=path_text,
        scope=START,
        metavar="CKPT",
        help="start from the weights of this checkpoint alone",
    )
    add("--test", action="store_true", scope=PLACE, help="validate --ckpt_path and stop")
    add(
        "--dry_run",
        action="store_true",
        scope=PLACE,
        help="say what would be trained, time some steps and stop; nothing is written but the "
        "cache of decoded frames",
    )
    add = parser.group("logging", PLACE)
    add("--wandb", "--use_wandb", action="store_true", help="log to Weights & Biases")
    add("--wandb_id", help="id of the wandb run (default: that of the run folder, else a new one)")
    add("--wandb_artifacts", action="store_true", help="send best.ckpt and last.ckpt to wandb")
    add("--tensorboard", action="store_true", help="write TensorBoard files into the run folder")
    add("--store_visualization", action="store_true", help="keep the GIF of every validation")


def _add_tester_flags(parser: FlagParser) -> None:
    add = parser.group("testing", PLACE)
    add("--split", choices=["test", "val"], default="test", help="which sequences to roll out")
    add(
        "--overwrite",
        action="store_true",
        help="replace the results of another run in --save_root, or the file of --export_lab",
    )
    add(
        "--video",
        choices=["gif", "mp4"],
        default="gif",
        help="mp4: an MP4 beside every GIF, enlarged four times at least (needs pip install av)",
    )
    add("--no_report", action="store_true", help="write no report.html and no scores.png")
    add("--no_sanity", action="store_true", help="accepted and ignored, as in the lab")
    add("--make_gif", action="store_true", help="accepted; GIFs are always written")
