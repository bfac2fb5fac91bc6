"""The settings of the robot model: its own flags, its presets, and what follows from them."""

from core.errors import UserError
from settings.flag_types import count, natural, number
from settings.parsing import MARK, SWITCH, Flag, FlagTable, Scope

FRAME_SIZE = 64  # pixels, both ways

# Flags of every model that say nothing to this one.
LACKS = {
    "train_vi_len": "a window has --n_past and --n_future frames",
    "holdout": "its data has a split to validate on",
    "prediction_buffer": "its LSTMs need the window rolled out",
    "context_swap": "its LSTMs need the window rolled out",
}


layers = number(int, 1, 16)
# fmt: off
FLAGS: FlagTable = {
    "robot model (--model svg)": [
        Flag("--n_past", count, 2, "context frames"),
        Flag("--n_future", count, 10, "frames predicted in a training window"),
        Flag("--n_eval", number(int, 2), 30, "frames of a sequence rolled out"),
        Flag("--epoch_size", count, 600, "steps of an epoch"),
        Flag("--g_dim", number(int, 1, 4096), 128, "features of a frame"),
        Flag("--z_dim", number(int, 1, 4096), 64, "latent dimensions"),
        Flag("--rnn_size", number(int, 1, 8192), 256, "hidden units of an LSTM layer"),
        Flag("--vgg_width", number(int, 1, 1024), 64, "channels of the first encoder stage; the "
             "others are multiples of it"),
        Flag("--posterior_rnn_layers", layers, 1, "LSTM layers of posterior and prior"),
        Flag("--predictor_rnn_layers", layers, 2, "LSTM layers of the predictor"),
        Flag("--prior", ["fixed", "learned"], "fixed", "of the latent: N(0, I), or a Gaussian "
             "learned from the frames before"),
        Flag("--action_free --no_condition", MARK, False, "predict without actions and "
             "end-effector positions"),
        Flag("--last_frame_skip", SWITCH, False, "skip connections from the latest frame, "
             "predicted ones included"),
        Flag("--val_sequences", natural, 0, "validate on the first so many (0: all)"),
        Flag("--num_samples", count, None, "samples of a sequence that the best is chosen of "
             "(default: 100 on a GPU, else 20)", Scope.PLACE),
    ]
}
# fmt: on


def resolve(settings: dict) -> None:
    """Set the length of a window. Raises UserError where nothing is left to predict."""
    n_past, n_eval = settings["n_past"], settings["n_eval"]
    if n_eval <= n_past:
        raise UserError(f"--n_eval {n_eval} must be more than --n_past {n_past}")
    settings["train_vi_len"] = n_past + settings["n_future"]
    settings["frame_H"] = settings["frame_W"] = FRAME_SIZE
    settings["holdout"], settings["prediction_buffer"] = None, False


# fmt: off
# The defaults of the robot lab; where it gives none, those of its report that did best.
ROBOT_LAB = {
    "seed": 1, "num_epoch": 300, "batch_size": 12, "per_save": 10, "per_val": 10,
    "optim": "Adam", "lr": 2e-3, "lr_schedule": "constant", "tfr_sde": 0, "tfr_d_step": 0.0,
    "kl_anneal_type": "Monotonic", "kl_anneal_cycle": 3, "kl_anneal_ratio": 0.5,
    "kl_anneal_stop": 1e-4,
}

PRESETS: dict[str, dict] = {
    "lab": ROBOT_LAB,
    # For a laptop, in minutes (docs/results.md).
    "quick": {
        **ROBOT_LAB, "vgg_width": 16, "g_dim": 64, "z_dim": 16, "rnn_size": 128, "n_eval": 12,
        "num_epoch": 20, "epoch_size": 20, "per_save": 20, "per_val": 5, "val_sequences": 8,
        "optim": "Muon", "lr_schedule": "cosine", "lr_warmup": 20,
        "tfr_d_step": 0.05, "tfr_granularity": "batch",
        "kl_anneal_type": "None", "kl_anneal_stop": 1e-5,
    },
}
# fmt: on
