"""`--help`: the Tester shows its own flags, the Trainer what its presets change."""

import shlex

import pytest

from settings.flags import tester_parser, trainer_parser
from settings.models import MODELS
from settings.resolve import make_settings, parse_explicit


def test_the_testers_help_shows_what_matters_to_a_test_and_the_rest_still_works():
    text = tester_parser().format_help()
    for flag in ("--ckpt_path", "--DR", "--split", "--check", "--export_lab", "--threads"):
        assert flag in text
    for flag in ("--lr", "--kl_anneal_type", "--batch_size", "--wandb", "--F_dim", "--num_epoch"):
        assert f"{flag} " not in text
    assert "python Trainer.py --help" in text
    assert len(text.splitlines()) < 90
    explicit = parse_explicit(tester_parser(), ["--DR", ".", "--lr", "0.5", "--F_dim", "64"])
    assert explicit == {"DR": ".", "lr": 0.5, "F_dim": 64}


def test_the_trainers_help_has_two_examples_that_are_command_lines():
    text = trainer_parser().format_help()
    lines = text[text.index("examples:") :].splitlines()
    commands = [
        line.split("python Trainer.py ")[1] for line in lines if "python Trainer.py " in line
    ]
    assert len(commands) == 2
    for command in commands:
        trainer_parser().parse_args(shlex.split(command))


@pytest.mark.parametrize(
    ("model", "preset"), [(m, p) for m, spec in MODELS.items() for p in spec.presets]
)
def test_the_help_says_what_a_preset_changes_as_flags_that_do_it(model, preset):
    text = trainer_parser().format_help()
    text = text[text.index(f"--model {model} --preset {preset}\n") :].splitlines()[1:]
    told = []
    for line in text:
        if not line.startswith("    "):
            break
        told += [] if "(the defaults)" in line else shlex.split(line)
    parser = trainer_parser()
    by_hand = make_settings(parser, parse_explicit(parser, told) | {"model": model})
    wanted = make_settings(parser, {"model": model, "preset": preset})
    differing = {k for k, v in vars(wanted).items() if v != getattr(by_hand, k)}
    assert differing <= {"preset"}
