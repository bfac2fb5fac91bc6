"""The flags of the robot model alone, and what follows from them.

Spec lab5, "Settings of the lab report".
"""

from argparse import ArgumentParser, BooleanOptionalAction, Namespace

from core.errors import UserError
from settings.flag_types import count, natural, number

FRAME_SIZE = 64  # pixels, both ways
# What only the dance model has; given with the robot model, it would do nothing.
DANCE_FLAGS = (
    *("F_dim", "L_dim", "N_dim", "D_out_dim", "output_activation", "scene", "patch"),
    *("frame_H", "frame_W", "train_vi_len", "val_vi_len", "holdout", "fixed_windows"),
    *("replay", "stray", "augment", "mirror", "GT", "export_lab"),
)
ROBOT_FLAGS = (
    *("n_past", "n_future", "n_eval", "epoch_size", "g_dim", "z_dim", "rnn_size", "vgg_width"),
    *("posterior_rnn_layers", "predictor_rnn_layers", "prior", "condition", "last_frame_skip"),
    *("num_samples", "val_sequences"),
)


def add_robot_flags(parser: ArgumentParser) -> None:
    """Add the group of the robot model."""
    add = parser.add_argument_group("robot model (--model svg)").add_argument
    add("--n_past", type=count, default=2, help="known frames")
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
        "--no_condition",
        dest="condition",
        action="store_false",
        help="predict without actions and end-effector positions",
    )
    add(
        "--last_frame_skip",
        action=BooleanOptionalAction,
        default=False,
        help="skip connections from the latest frame, predicted ones included",
    )
    add(
        "--num_samples",
        type=count,
        help="samples of a sequence that the best is chosen of (default: 100 on a GPU, else 20)",
    )
    add("--val_sequences", type=natural, default=0, help="validate on the first so many (0: all)")


def check_flags_of_model(explicit: dict, model: str) -> None:
    """Raise UserError for a flag on the command line that the model does not have."""
    for name in DANCE_FLAGS if model == "svg" else ROBOT_FLAGS:
        if name in explicit:
            flag = "no_condition" if name == "condition" else name
            other = "dance" if model == "svg" else "svg"
            why = ""
            if name == "replay":
                why = ": its LSTMs need the window rolled out"
            raise UserError(f"--{flag} is for --model {other}, not for --model {model}{why}")


def settle_robot_settings(settings: Namespace) -> None:
    """Set what follows from the robot model's flags. Raises UserError where they do not fit."""
    if settings.n_eval <= settings.n_past:
        raise UserError(f"--n_eval {settings.n_eval} must be more than --n_past {settings.n_past}")
    settings.train_vi_len = settings.n_past + settings.n_future
    settings.frame_H = settings.frame_W = FRAME_SIZE
    settings.holdout, settings.replay = None, False
