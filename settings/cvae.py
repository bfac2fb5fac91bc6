"""The settings of the dance model: its own flags, its presets, and what fits together."""

from core.errors import UserError
from settings.flag_types import (
    frame_count,
    frame_side,
    non_negative,
    number,
    path_text,
    probability,
)
from settings.parsing import MARK, SWITCH, Flag, FlagTable, Scope

# fmt: off
FLAGS: FlagTable = {
    "data": [
        Flag("--frame_H", frame_side, 32, "frame height in pixels"),
        Flag("--frame_W", frame_side, 64, "frame width in pixels"),
        Flag("--val_vi_len", frame_count, 630, "frames of a validation sequence"),
        Flag("--fixed_windows", SWITCH, False, "cut windows at multiples of train_vi_len"),
        Flag("--augment", SWITCH, False, "flip, move and shear the person before the background, "
             "which must be still"),
        Flag("--flip_prob --mirror", probability, 0.5, "chance that --augment flips a window; 0 "
             "where light or clothes have a side"),
        Flag("--zoom_prob", number(float, 0, 0.5), 0.0, "part of the frames, some in a row, "
             "that --augment shows with the person 0.6 to 2.5 times as large"),
        Flag("--limb_rotation_prob", number(float, 0, 0.5), 0.0, "part of the frames, some in a "
             "row, in which --augment turns arms and legs about their joints"),
        Flag("--limb_dropout", number(float, 0, 0.9), 0.0, "part of the frames, some in a row, "
             "whose pose image loses limbs with --augment, as pose estimators lose them"),
    ],
    "dance model (--model cvae)": [
        Flag("--F_dim", number(int, 8, 4096), 128, "frame feature channels"),
        Flag("--L_dim", number(int, 2, 4096), 32, "pose feature channels"),
        Flag("--N_dim", number(int, 4, 4096), 12, "latent channels"),
        Flag("--D_out_dim", number(int, 8, 4096), 192, "fused feature channels"),
        Flag("--output_activation", ["sigmoid", "clamp", "none"], None, "what follows the "
             "Generator (default: sigmoid; of a checkpoint that does not say, found out on a first "
             "frame)"),
        Flag("--positional_bias --scene", SWITCH, False, "learn a bias on the pose features for "
             "every position: what all frames share"),
        Flag("--cauchy_scale", non_negative, 0.0, "squared errors of a frame far above this count "
             "by their logarithm (Cauchy loss), so that frames that no pose tells do not rule a "
             "step; 0: plain MSE"),
        Flag("--patch_size --patch", [1, 2, 4], 1, "space to depth before the networks", type=int),
        Flag("--scales", [1, 2, 3, 4], 1, "resolutions at which the networks work, each half "
             "of the one before, for large frames; 1: the lab's networks", type=int),
    ],
}

TEST_FLAGS: FlagTable = {
    "testing": [
        Flag("--GT", path_text, None, "true test frames, K/N.png (default: test/test_gt if there)",
             Scope.PLACE, metavar="DIR"),
        Flag("--tta", MARK, False, "test-time augmentation: the mean of predictions of the person "
             "as filmed, flipped and shifted; four times the work", Scope.PLACE),
        Flag("--fill_poses", number(int, 0, 10**9), 0, "complete pose images that lost many limbs "
             "for up to so many frames in a row, from those before and after; 0: as they are",
             Scope.PLACE, metavar="FRAMES"),
        Flag("--check", path_text, None, "look a submission.csv over before it is uploaded, and "
             "stop: rows, ids, range, sequences, against the data", Scope.PLACE, metavar="FILE"),
        Flag("--export_lab", path_text, None, "write the checkpoint as the lab's code loads it",
             Scope.PLACE, metavar="FILE"),
    ]
}
# fmt: on


def resolve(settings: dict) -> None:
    """Raise UserError where frame size and patch size do not fit together.

    A new model ends in a sigmoid; what a loaded one ends in may still have to be found out.
    """
    if not (settings["ckpt_path"] or settings["warm_start"]):
        settings["output_activation"] = settings["output_activation"] or "sigmoid"
    for name in ("zoom_prob", "limb_rotation_prob", "limb_dropout"):
        if settings[name] and not settings["augment"]:
            raise UserError(f"--{name} {settings[name]:g} is a part of --augment: add that")
    patch, scales = settings["patch_size"], settings["scales"]
    cell, said = patch << (scales - 1), f"--patch_size {patch}"
    if scales > 1:
        said = f"{cell}, which is {said} at the coarsest of --scales {scales}"
    for side in ("frame_H", "frame_W"):
        size = settings[side]
        if size % cell or size // cell < 4:  # the pose encoder mirrors three rows at the border
            raise UserError(f"--{side} {size}: must be a multiple of {said}, 4 times at least")
    for width in ("F_dim", "L_dim", "D_out_dim"):
        if settings[width] % (least := 1 << (scales - 1)):
            raise UserError(
                f"--{width} {settings[width]}: must be a multiple of {least} with --scales {scales}"
            )


LAB_WIDTHS = {"F_dim": 128, "L_dim": 32, "N_dim": 12, "D_out_dim": 192}

# fmt: off
# The lab's networks in batches of many short windows that predict from buffered predictions, some
# of them with swapped context; people in places and poses never filmed; what all frames share is a
# learned positional bias; the latent stays near its prior.
RECIPE = {
    "train_vi_len": 2, "tfr": 0.0, "prediction_buffer": True, "context_swap": 0.25, "augment": True,
    "positional_bias": True, "kl_anneal_type": "None", "kl_anneal_stop": 1e-4, "latent": "mean",
    "optim": "Muon", "lr_schedule": "cosine", "lr_warmup": 50, "per_val": 20, "per_save": 20,
}

LARGE_FRAMES = {"frame_H": 128, "frame_W": 256, "patch_size": 2, "scales": 3}

PRESETS: dict[str, dict] = {
    # The lab's networks with the optimizer of the course report that did best.
    "lab": {**LAB_WIDTHS, "optim": "AdamW", "lr": 1e-4, "lr_schedule": "cosine"},
    # The course template as handed out.
    "template": {**LAB_WIDTHS, "optim": "Adam", "lr": 1e-3, "lr_schedule": "multistep"},
    # What wins (docs/results.md), in the time one has: minutes on a laptop …
    "quick": {
        **RECIPE, "F_dim": 64, "L_dim": 16, "N_dim": 4, "D_out_dim": 96, "patch_size": 2,
        "batch_size": 16, "lr": 3e-3, "minutes": 8.0,
    },
    # … and on a GPU.
    "large": {**RECIPE, **LAB_WIDTHS, "batch_size": 32, "lr": 2e-3, "minutes": 60.0},
    # The same two for frames of 128×256 instead of 32×64, so `quick-large` is `quick` for large
    # frames, and `gpu-large` is no other spelling of `large`.
    "quick-large": {
        **RECIPE, **LARGE_FRAMES, "F_dim": 64, "L_dim": 32, "N_dim": 4, "D_out_dim": 128,
        "batch_size": 8, "lr": 3e-3, "minutes": 20.0,
    },
    "gpu-large": {
        **RECIPE, **LARGE_FRAMES, "F_dim": 192, "L_dim": 96, "N_dim": 12, "D_out_dim": 384,
        "batch_size": 32, "lr": 2e-3, "minutes": 60.0,
    },
}
# fmt: on
GPU_BATCHES = {"quick": 64, "large": 64}  # windows of a step on CUDA
