"""The experiments of a sweep: flags of the Trainer with their values, and what they are called."""

import pytest

import Reporter
from report.sweep_flags import as_words, flag_actions, grid, name_of, one_at_a_time
from settings.flags import trainer_parser
from settings.resolve import parse_explicit


def test_a_grid_has_every_combination():
    made = grid({"kl_anneal_type": ["Cyclical", "None"], "tfr": ["0", "1"]})
    assert list(made) == [
        "type=Cyclical_tfr=0",
        "type=Cyclical_tfr=1",
        "type=None_tfr=0",
        "type=None_tfr=1",
    ]
    assert made["type=None_tfr=0"] == {"kl_anneal_type": "None", "tfr": "0"}


def test_one_at_a_time_differs_from_the_first_values_in_one_flag():
    choices = {"optim": ["Adam", "Muon"], "batch_size": ["2", "4", "8"], "seed": ["1", "2"]}
    made = list(one_at_a_time(choices).values())
    assert len(made) == 2 * (1 + 1 + 2)
    base = made[0]
    assert base == {"optim": "Adam", "batch_size": "2", "seed": "1"}
    for flags in made:
        differing = {name for name in flags if flags[name] != base[name]} - {"seed"}
        assert len(differing) <= 1
    assert len({tuple(flags.items()) for flags in made}) == len(made)


def test_every_flag_of_the_trainer_is_swept_or_refused_for_a_reason(report, tmp_path):
    """Every one is read by the sweep's parser, and back by the Trainer's as the same value."""
    examples = {"holdout": "3:9", "kl_anneal_type": "Without", "warm_start": "a b/c.ckpt"}
    examples |= {"kl_anneal_ratio": "4", "lr_milestones": "3,7", "optim": "adamw", "lr": "3e-05"}
    for name, action in flag_actions().items():
        others = [action.default, *(action.choices or ["1"])]
        text = examples.get(name) or str(next(value for value in others if value is not None))
        if action.nargs == 0:
            text = "off" if "--no-" + name in action.option_strings else "on"
        words = ["--out", ".", "--sweep", f"--{name}", text]
        value = getattr(Reporter.parser().parse_args(words), name)[0]
        read = parse_explicit(trainer_parser(), as_words({name: value}))
        plain = text.split(",") if action.nargs == "+" else [text]
        direct = [f"--no-{name}"] if text == "off" else [f"--{name}", *plain * (text != "on")]
        assert read == parse_explicit(trainer_parser(), direct), name
    for name in ("save_root", "ckpt_path", "device", "test"):
        assert report("--sweep", "--DR", ".", "--out", tmp_path / "o", f"--{name}", "x")[0] == 2


@pytest.mark.parametrize("value", ["a b/../c.ckpt", "3:9", "x" * 500, "ä", "", "CON?*"])
def test_names_of_experiments_are_those_of_a_folder(tmp_path, value):
    name = name_of({"warm_start": value})
    (tmp_path / name).mkdir()
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert name != name_of({"warm_start": value + "?"})
