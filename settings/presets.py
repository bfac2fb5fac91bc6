"""Named sets of defaults, by model; a flag on the command line wins over its preset."""

LAB_WIDTHS = {"F_dim": 128, "L_dim": 32, "N_dim": 12, "D_out_dim": 192}

# The lab's networks in batches of many short windows that draw from kept predictions, some of them
# strays; people in places and poses never filmed; what all frames share is learned by place; the
# latent stays near its prior.
RECIPE = {
    "replay": True,
    "scene": True,
    "train_vi_len": 2,
    "tfr": 0.0,
    "kl_anneal_type": "None",
    "kl_anneal_stop": 1e-4,
    "z": "mean",
    "augment": True,
    "stray": 0.25,
    "optim": "Muon",
    "lr_schedule": "cosine",
    "lr_warmup": 50,
}

DANCE_PRESETS: dict[str, dict] = {
    # The lab's networks with the optimizer of the report that did best.
    "lab": {**LAB_WIDTHS, "optim": "AdamW", "lr": 1e-4, "lr_schedule": "cosine"},
    # The course template as handed out.
    "template": {**LAB_WIDTHS, "optim": "Adam", "lr": 1e-3, "lr_schedule": "multistep"},
    # What wins (benchmarks/RECIPES.md), in the time one has: minutes on a laptop …
    "quick": {
        **RECIPE,
        "patch": 2,
        "F_dim": 64,
        "L_dim": 16,
        "N_dim": 4,
        "D_out_dim": 96,
        "batch_size": 16,
        "lr": 3e-3,
        "minutes": 8.0,
        "per_val": 20,
        "per_save": 20,
    },
    # … and on a GPU.
    "best": {
        **RECIPE,
        **LAB_WIDTHS,
        "batch_size": 32,
        "lr": 2e-3,
        "minutes": 60.0,
        "per_val": 20,
        "per_save": 20,
    },
}

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

ROBOT_PRESETS: dict[str, dict] = {
    "lab": ROBOT_LAB,
    # For a laptop, in minutes (benchmarks/ROBOT.md).
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
        "tfr_coin": "batch",
        "num_epoch": 20,
        "epoch_size": 20,
        "tfr_d_step": 0.05,
        "per_val": 5,
        "per_save": 20,
        "val_sequences": 8,
    },
}

PRESETS = {"dance": DANCE_PRESETS, "svg": ROBOT_PRESETS}
