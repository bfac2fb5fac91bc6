"""The flags of every model, with their help; those of one model are in a file of its own.

Names are the lab's where it has one (docs/lab.md, "Flags"); further spellings are aliases.
"""

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
from settings.help import OF_A_TEST, TESTER_EXAMPLES, TRAINER_EXAMPLES, preset_help
from settings.models import MODELS
from settings.parsing import MARK, SWITCH, Flag, FlagParser, FlagTable, Scope

LENGTH, START, PLACE = Scope.LENGTH, Scope.START, Scope.PLACE

# fmt: off
DATA_FLAGS: FlagTable = {
    "data": [
        Flag("--DR --data_root", path_text, None, "dataset folder: holds train/, val/ and test/",
             PLACE, metavar="ROOT"),
        Flag("--train_vi_len", frame_count, 16, "frames of a training window"),
        Flag("--partial", fraction, 1.0, "use this first part of the training frames"),
        Flag("--fast_train", SWITCH, False, "use --fast_partial in the first epochs, or "
             "--partial where that is less"),
        Flag("--fast_partial", fraction, 0.4, "the part --fast_train uses"),
        Flag("--fast_train_epoch", natural, 5, "how many epochs --fast_train lasts"),
        Flag("--holdout", frame_range, None, "leave training frames numbered A to B-1 out and "
             "validate on them as well", metavar="A:B"),
        Flag("--cache_dir", path_text, None, "folder of decoded frames (default: the user's cache "
             "folder)", PLACE),
        Flag("--num_workers", thread_count, None, "image decoding threads (default: one per core)",
             PLACE),
    ]
}

RUN_FLAGS = [
    Flag("--save_root --log_dir", path_text, None, "folder for everything the run writes", PLACE),
    Flag("--ckpt_path --model_dir", path_text, None, "checkpoint to use, or a run folder", START),
    Flag("--seed", natural, 0, "seed of everything random"),
    Flag("--device", str, "auto", "auto (CUDA, then MPS, then CPU), cpu, cuda, cuda:N, mps", PLACE),
    Flag("--precision", ["auto", "fp32", "bf16"], "auto", "of convolutions; losses are always "
         "fp32. auto: bf16 where the hardware has it"),
    Flag("--compile", ["auto", "on", "off"], "auto", "compile the networks with torch.compile; "
         "auto: on CUDA, where it pays", PLACE),
    Flag("--threads", number(int, 1, 1024), None, "CPU threads (default: one per core; fewer where "
         "other work on the cores makes that clearly quicker; a resumed run has as many as before)",
         PLACE),
    Flag("--gpu", int, None, "accepted and ignored, as in the lab; see --device", PLACE),
    Flag("--cuda", MARK, False, "accepted and ignored, as in the lab; see --device", PLACE),
]

FLAGS: FlagTable = {
    "optimization": [
        Flag("--num_epoch --niter", count, 70, "epochs; the schedules span them", LENGTH),
        Flag("--minutes", positive, None, "train for this time instead; the schedules of "
             "--num_epoch are stretched over it", LENGTH),
        Flag("--batch_size", count, 2, "windows of a step"),
        Flag("--optim --optimizer", OPTIMIZERS, "AdamW", "optimizer; Muon leaves what is no matrix "
             "to AdamW", type=optimizer_name),
        Flag("--beta1", probability, 0.9, "decay of the mean gradient of Adam, AdamW and Muon's "
             "AdamW"),
        Flag("--lr", positive, 1e-4, "learning rate at the start"),
        Flag("--weight_decay", non_negative, None, "default: 0.01 for AdamW and Muon, 0 otherwise"),
        Flag("--lr_schedule", ["cosine", "multistep", "step", "exponential", "constant"], "cosine",
             "shape of the learning rate over the epochs"),
        Flag("--lr_milestones", count, [2, 5], "epochs at which multistep decays", nargs="+",
             metavar="EPOCH"),
        Flag("--lr_step_size", count, 10, "epochs between decays of step"),
        Flag("--lr_gamma", fraction, 0.1, "factor of a decay"),
        Flag("--lr_warmup", natural, 0, "steps over which the rate rises linearly"),
        Flag("--grad_clip_norm --max_norm", positive, 1.0, "clip the gradient at this norm "
             "(--max_norm is the lab's spelling)"),
        Flag("--bptt", natural, 0, "predictions a gradient passes back through (0: each prediction "
             "is detached)"),
    ],
    "teacher forcing": [
        Flag("--tfr", probability, 1.0, "ratio at the start"),
        Flag("--tfr_sde --tfr_start_decay_epoch", natural, 10, "epoch that starts the decay"),
        Flag("--tfr_d_step --tfr_decay_step", probability, 0.1, "decay per epoch"),
        Flag("--tfr_lower_bound", probability, 0.0, "ratio at which the decay ends: once there, it "
             "is 0"),
        Flag("--tfr_granularity --tfr_coin", ["epoch", "batch", "step"], "epoch", "what one toss "
             "decides for (the lab: a whole epoch)"),
        Flag("--prediction_buffer --replay", SWITCH, False, "predict from the buffered prediction "
             "of the frame before instead of rolling windows out"),
        Flag("--context_swap --stray", probability, 0.0, "chance that --prediction_buffer gives a "
             "window the previous frame of another one, so that the pose has the last word"),
    ],
    "KL annealing": [
        Flag("--kl_anneal_type", kl_anneal_type, "Cyclical", "how the KL weight climbs (Without is "
             "another spelling of None)", metavar="{Cyclical,Monotonic,None}"),
        Flag("--kl_anneal_cyclical", "store_const", "Cyclical", "--kl_anneal_type Cyclical",
             dest="kl_anneal_type", const="Cyclical"),
        Flag("--kl_anneal_cycle", count, 10, "number of cycles over the run"),
        Flag("--kl_anneal_period", count, None, "length of a cycle in epochs, instead of "
             "--kl_anneal_cycle", metavar="EPOCHS"),
        Flag("--kl_anneal_ratio", kl_anneal_ratio, 1.0, "part of a cycle that climbs; above 1, its "
             "inverse, so that 2 is half a cycle"),
        Flag("--kl_anneal_start", non_negative, 0.0, "weight at the start of a cycle"),
        Flag("--kl_anneal_stop --beta", non_negative, 1.0, "weight at the top. The KL is a sum "
             "over N*H*W terms against a mean over pixels: at 1 the latent carries nothing, near "
             "1e-6 it does (docs/method.md)"),
    ],
    "prediction": [
        Flag("--latent --z", ["sample", "mean"], "sample", "latent at test time: a sample of the "
             "prior, or its mean"),
        Flag("--temperature", non_negative, 1.0, "scale of the sampled latent"),
    ],
}

TRAINER_FLAGS: FlagTable = {
    "training": [
        Flag("--per_save", count, 3, "write epoch=N.ckpt every so many epochs", LENGTH),
        Flag("--per_val", count, 1, "validate every so many epochs, and at the end", LENGTH),
        Flag("--resume", ["auto", "never"], "auto", "auto: go on where --save_root holds a run "
             "with these settings; never: begin anew", PLACE),
        Flag("--save_every_minutes", positive, 1.0, "minutes between resume points", LENGTH),
        Flag("--keep_checkpoints --keep", number(int, 1, 1000), 2, "resume points to keep: "
             "last.ckpt and those before", LENGTH),
        Flag("--warm_start", path_text, None, "start from the weights of this checkpoint alone",
             START, metavar="CKPT"),
        Flag("--test", MARK, False, "validate --ckpt_path and stop", PLACE),
        Flag("--dry_run", MARK, False, "say what would be trained, time some steps and stop; "
             "nothing is written but the cache of decoded frames", PLACE),
    ],
    "logging": [
        Flag("--wandb --use_wandb", MARK, False, "log to Weights & Biases; a resumed run goes "
             "on without it, and a test is sent to the run of its checkpoint", PLACE),
        Flag("--wandb_id", str, None, "id of the wandb run (default: that of the run folder, else "
             "a new one)", PLACE),
        Flag("--wandb_artifacts", MARK, False, "send best.ckpt and last.ckpt to wandb", PLACE),
        Flag("--tensorboard", MARK, False, "write TensorBoard files into the run folder", PLACE),
        Flag("--store_visualization", MARK, False, "keep the GIF of every validation", PLACE),
    ],
}

TESTER_FLAGS: FlagTable = {
    "testing": [
        Flag("--split", ["test", "val"], "test", "which sequences to roll out", PLACE),
        Flag("--overwrite", MARK, False, "replace the results of another run in --save_root, or "
             "the file of an --export", PLACE),
        Flag("--video", ["gif", "mp4"], "gif", "mp4: an MP4 beside every GIF, enlarged four times "
             "at least", PLACE),
        Flag("--export_safetensors", path_text, None, "write the weights and their settings as "
             ".safetensors, to test, play or warm-start", PLACE, metavar="FILE"),
        Flag("--no_report", MARK, False, "write no report.html and no scores.png", PLACE),
        Flag("--no_sanity", MARK, False, "accepted and ignored, as in the lab", PLACE),
        Flag("--make_gif", MARK, False, "accepted; GIFs are always written", PLACE),
    ]
}
# fmt: on


def trainer_parser() -> FlagParser:
    """Return the parser of Trainer.py."""
    parser = _parser("Train a model for conditional video prediction.")
    for spec in MODELS.values():
        parser.add(spec.flags, spec.name)
    parser.add(TRAINER_FLAGS)
    parser.epilog = TRAINER_EXAMPLES + preset_help(parser.defaults)
    return parser


def tester_parser() -> FlagParser:
    """Return the parser of Tester.py, which takes every flag of the Trainer as well.

    Its help shows those that matter to a test.
    """
    parser = _parser(
        "Roll a checkpoint out: GIFs, submission.csv and, where the truth is known, scores."
    )
    parser.add(TESTER_FLAGS)
    for spec in MODELS.values():
        parser.add(spec.flags, spec.name)
        parser.add(spec.test_flags, spec.name)
    own = parser.under("testing")
    parser.add(TRAINER_FLAGS)
    parser.hide_all_but([*OF_A_TEST, *own])
    parser.epilog = TESTER_EXAMPLES
    return parser


def _parser(description: str) -> FlagParser:
    parser = FlagParser(usage="%(prog)s --DR ROOT [flags]", description=description)
    parser.add(DATA_FLAGS)
    parser.add({"run": _choices() + RUN_FLAGS})
    parser.add(FLAGS)
    return parser


def _choices() -> list[Flag]:
    """Return the flags that choose among what the registered models are and have."""
    models = {name: spec.summary for name, spec in MODELS.items()}
    presets = dict.fromkeys(name for spec in MODELS.values() for name in spec.presets)
    return [
        Flag(
            "--model",
            list(models),
            next(iter(models)),
            "; ".join(f"{name}: {summary}" for name, summary in models.items()),
            type=renamed(dance="cvae"),
        ),
        Flag(
            "--preset",
            list(presets),
            "lab",
            "defaults for the other flags",
            PLACE,
            type=renamed(best="large"),
        ),
    ]
