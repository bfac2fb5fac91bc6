"""Presets give way to flags and to checkpoints; the lab's own lines are taken."""

import pytest

from core.errors import UserError
from settings.flags import tester_parser, trainer_parser
from settings.models import MODELS
from settings.resolve import make_settings, parse_explicit


def test_epochs_on_the_command_line_win_over_minutes_of_a_preset():
    parser = trainer_parser()
    assert make_settings(parser, {"preset": "quick"}).minutes is not None
    assert make_settings(parser, {"preset": "quick", "num_epoch": 3}).minutes is None


LARGE = {"frame_H": 128, "frame_W": 256, "patch_size": 2, "scales": 3}
SMALL = {"frame_H": 32, "frame_W": 64, "scales": 1}
SHARED = {
    **{"train_vi_len": 2, "tfr": 0.0, "prediction_buffer": True, "context_swap": 0.25},
    **{"augment": True, "positional_bias": True, "kl_anneal_type": "None", "latent": "mean"},
    **{"kl_anneal_stop": 1e-4, "optim": "Muon", "lr_schedule": "cosine", "lr_warmup": 50},
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lab", {"F_dim": 128, "L_dim": 32, "N_dim": 12, "D_out_dim": 192, "patch_size": 1}),
        ("quick", {"F_dim": 64, "D_out_dim": 96, "patch_size": 2, "batch_size": 16, "lr": 3e-3}),
        ("large", {"F_dim": 128, "D_out_dim": 192, "patch_size": 1, "batch_size": 32, "lr": 2e-3}),
        ("quick-large", LARGE | {"minutes": 20.0}),
        ("gpu-large", LARGE | {"minutes": 60.0}),
    ],
)
def test_what_the_presets_of_the_dance_are(name, expected):
    """Those for 32×64 stay as they are; those for 128×256 are the same recipe, other networks."""
    settings = vars(make_settings(trainer_parser(), {"preset": name}))
    expected = (SHARED if name != "lab" else {}) | (SMALL | expected)
    assert {key: settings[key] for key in expected} == expected


LAB_LINES = [
    "Trainer.py --DR ../LAB4_Dataset --save_root checkpoints --num_epoch 500 --per_save 10 "
    "--num_workers 6 --batch_size 8 --wandb",
    "Trainer.py --DR ../LAB4_Dataset --save_root checkpoints --num_epoch 500 --num_workers 8 "
    "--batch_size 16 --kl_anneal_cycle 20 --kl_anneal_ratio 0.5 --tfr 0.0 --wandb",
    "Trainer.py --DR ../LAB4_Dataset --save_root checkpoints --use_wandb --num_epoch 300 "
    "--per_save 1 --num_workers 6 --batch_size 8",
    "Trainer.py --DR D --save_root S --fast_train --kl_anneal_type Monotonic",
    "Trainer.py --DR D --save_root S --gpu 1 --test --ckpt_path C --store_visualization "
    "--optim Adam --device cuda --partial 0.5 --kl_anneal_type Without --wandb_id abc",
    "Tester.py --DR ../LAB4_Dataset --save_root ./results --ckpt_path checkpoints/epoch=20.ckpt",
    "Tester.py --DR D --save_root S --ckpt_path C --no_sanity --make_gif --batch_size 2 --gpu 0 "
    "--num_epoch 70 --tfr 1.0 --fast_train --kl_anneal_type Cyclical --val_vi_len 630",
]


@pytest.mark.parametrize("line", LAB_LINES)
def test_every_command_line_of_the_lab_parses(line):
    script, *flags = line.split()
    parser = trainer_parser() if script == "Trainer.py" else tester_parser()
    explicit = parse_explicit(parser, flags)
    settings = make_settings(parser, explicit)
    assert flags[flags.index("--DR") + 1] == settings.DR
    assert settings.wandb == bool({"--wandb", "--use_wandb"} & set(flags))


def test_presets_give_way_to_flags_and_to_the_checkpoint():
    parser = trainer_parser()
    quick = make_settings(parser, parse_explicit(parser, ["--preset", "quick"]))
    assert quick.F_dim == MODELS["cvae"].presets["quick"]["F_dim"]
    flags = ["--preset", "quick", "--lr", "0.5"]
    assert make_settings(parser, parse_explicit(parser, flags)).lr == 0.5
    stored = {"preset": "quick", "lr": 0.25, "tfr": 0.75, "DR": "elsewhere"}
    settings = make_settings(parser, {"tfr": 0.5}, stored)
    assert (settings.lr, settings.tfr, settings.DR) == (0.25, 0.5, None)


def test_template_preset_is_the_course_template():
    parser = trainer_parser()
    settings = make_settings(parser, {"preset": "template"})
    assert (settings.optim, settings.lr, settings.lr_schedule) == ("Adam", 1e-3, "multistep")
    assert (settings.F_dim, settings.L_dim, settings.N_dim, settings.D_out_dim) == (
        128,
        32,
        12,
        192,
    )


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"frame_H": 100}, "--frame_H 100: must be a multiple of 8"),
        ({"frame_W": 24}, "--frame_W 24: must be a multiple of 8, .* 4 times at least"),
        ({"F_dim": 66}, "--F_dim 66: must be a multiple of 4"),
    ],
)
def test_what_no_grid_of_several_scales_fits_is_refused(flags, named):
    with pytest.raises(UserError, match=named):
        make_settings(trainer_parser(), {"preset": "quick-large"} | flags)
