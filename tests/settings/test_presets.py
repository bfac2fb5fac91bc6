"""Presets give way to flags and to checkpoints; the lab's own lines are taken."""

import pytest

from settings.flags import tester_parser, trainer_parser
from settings.models import MODELS
from settings.resolve import make_settings, parse_explicit


def test_epochs_on_the_command_line_win_over_minutes_of_a_preset():
    parser = trainer_parser()
    assert make_settings(parser, {"preset": "quick"}).minutes is not None
    assert make_settings(parser, {"preset": "quick", "num_epoch": 3}).minutes is None


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
