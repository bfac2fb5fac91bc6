"""The settings of the robot model: its own flags, its presets, and what follows from them."""

from argparse import BooleanOptionalAction

from core.errors import UserError
from settings.flag_types import count, natural, number
from settings.parsing import FlagParser, Scope

FRAME_SIZE = 64  # pixels, both ways

# Flags of every model that say nothing to this one.
LACKS = {
    "train_vi_len": "a window has --n_past and --n_future frames",
    "holdout": "its data has a split to validate on",
    "prediction_buffer": "its LSTMs need the window rolled out",
    "context_swap": "its LSTMs need the window rolled out",
}


def add_flags(parser: FlagParser) -> None:
    """Add the flags that only the robot model has."""
    add = parser.group("robot model (--model svg)")
    add("--n_past", type=count, default=2, help="context frames")
    add("--n_future", type=count, default=10, help="frames predicted in a training window")
    add("--n_eval", type=number(int, 2), default=30, help="frames of a sequence rolled out")
    add("--epoch_size", type=count, default=600, help="steps of an epoch")
    add("--g_dim", type=number(int, 1, 4096), default=128, help="features of a frame")
    add("--z_dim", type=number(int, 1, 4096), default=64, help="latent dimensions")
    add("--rnn_size", type=number(int, 1, 8192), default=256, help="hidden units of an LSTM layer")
    add(
        "--vgg_width",
        type=number(int, 1, 1024),
        default=64,
        help="channels of the first encoder stage; the others are multiples of it",
    )
    layers = number(int, 1, 16)
    add("--posterior_rnn_layers", type=layers, default=1, help="LSTM layers of posterior and prior")
    add("--predictor_rnn_layers", type=layers, default=2, help="LSTM layers of the predictor")
    add(
        "--prior",
        choices=["fixed", "learned"],
        default="fixed",
        help="of the latent: N(0, I), or a Gaussian learned from the frames before",
    )
    add(
        "--action_free",
        "--no_condition",
        action="store_true",
        help="predict without actions and end-effector positions",
    )
    add(
        "--last_frame_skip",
        action=BooleanOptionalAction,
        default=False,
        help="skip connections from the latest frame, predicted ones included",
    )
    add("--val_sequences", type=natural, default=0, help="validate on the first so many (0: all)")
    add(
        "--num_samples",
        type=count,
        scope=Scope.PLACE,
        help="samples of a sequence that the best is chosen of (default: 100 on a GPU, else 20)",
    )


def add_test_flags(parser: FlagParser) -> None:
    """Add the flags of the Tester that only the robot model has: none."""


def resolve(settings: dict) -> None:
    """Set the length of a window. Raises UserError where nothing is left to predict."""
    n_past, n_eval = settings["n_past"], settings["n_eval"]
    if n_eval <= n_past:
        raise UserError(f"--n_eval {n_eval} must be more than --n_past {n_past}")
    settings["train_vi_len"] = n_past + settings["n_future"]
    settings["frame_H"] = settings["frame_W"] = FRAME_SIZE
    settings["holdout"], settings["prediction_buffer"] = None, False


# The defaults of the robot lab; where it gives none, those of its report that did best.
ROBOT_LAB = {
    "seed": 1,
    "num_epoch": 300,
    "batch_size": 12,
    "optim": "Adam",
    "lr": 2e-3,
    "lr_schedule": "constant",
    "tfr_sde": 0,
    "tfr_d_step": 0.0,
    "kl_anneal_type": "Monotonic",
    "kl_anneal_cycle": 3,
    "kl_anneal_ratio": 0.5,
    "kl_anneal_stop": 1e-4,
    "per_save": 10,
    "per_val": 10,
}

PRESETS: dict[str, dict] = {
    "lab": ROBOT_LAB,
    # For a laptop, in minutes (docs/results.md).
    "quick": {
        **ROBOT_LAB,
        "vgg_width": 16,
        "g_dim": 64,
        "z_dim": 16,
        "rnn_size": 128,
        "n_eval": 12,
        "optim": "Muon",
        "lr_schedule": "cosine",
        "lr_warmup": 20,
        "kl_anneal_type": "None",
        "kl_anneal_stop": 1e-5,
        "tfr_granularity": "batch",
        "num_epoch": 20,
        "epoch_size": 20,
        "tfr_d_step": 0.05,
        "per_val": 5,
        "per_save": 20,
        "val_sequences": 8,
    },
}
