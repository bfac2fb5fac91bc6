"""Every flag by each of its spellings, on the command line and in what was stored."""

import json
import re
import shlex

import pytest

from settings.flags import tester_parser, trainer_parser
from settings.resolve import make_settings, parse_explicit, present_names
from tests.support import FIXTURES, ROOT

SAME = [  # the line with another spelling, and the line with the flag's own
    ("--data_root D", "--DR D"),
    ("--log_dir S", "--save_root S"),
    ("--model_dir C", "--ckpt_path C"),
    ("--niter 7", "--num_epoch 7"),
    ("--optimizer rmsprop", "--optim RMSprop"),
    ("--optimizer adam", "--optim Adam"),
    ("--tfr_start_decay_epoch 4", "--tfr_sde 4"),
    ("--tfr_decay_step 0.25", "--tfr_d_step 0.25"),
    ("--beta 0.001", "--kl_anneal_stop 0.001"),
    ("--kl_anneal_cyclical", "--kl_anneal_type Cyclical"),
    ("--use_wandb", "--wandb"),
    ("--kl_anneal_type Without", "--kl_anneal_type None"),
    ("--kl_anneal_ratio 4", "--kl_anneal_ratio 0.25"),
    ("--max_norm 0.75", "--grad_clip_norm 0.75"),
    ("--model dance", "--model cvae"),
    ("--preset best", "--preset large"),
    ("--replay", "--prediction_buffer"),
    ("--no-replay", "--no-prediction_buffer"),
    ("--stray 0.3", "--context_swap 0.3"),
    ("--scene", "--positional_bias"),
    ("--no-scene", "--no-positional_bias"),
    ("--mirror 0.2", "--flip_prob 0.2"),
    ("--patch 2", "--patch_size 2"),
    ("--tfr_coin step", "--tfr_granularity step"),
    ("--z mean", "--latent mean"),
    ("--keep 5", "--keep_checkpoints 5"),
    ("--no_condition", "--action_free"),
]
IGNORED = {"--cuda"}  # sets nothing that anything reads
NO_FLAG_OF_A_RUN = {"--study"}  # the Reporter's


@pytest.mark.parametrize("make_parser", [trainer_parser, tester_parser])
@pytest.mark.parametrize(("other", "own"), SAME)
def test_both_spellings_say_the_same(make_parser, other, own):
    parser = make_parser()
    found, expected = (parse_explicit(parser, shlex.split(line)) for line in (other, own))
    assert found == expected
    assert len(found) == 1
    assert make_settings(parser, found) == make_settings(parser, expected)
    if other not in ("--no-replay", "--no-scene", "--kl_anneal_cyclical", "--model dance"):
        assert make_settings(parser, found) != make_settings(parser, {})  # it does say something


def documented() -> list[str]:
    """Return the first column of the table of aliases in docs/lab.md."""
    text = (ROOT / "docs" / "lab.md").read_text().split("## Aliases of flags")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return [word for cell in cells for word in re.findall(r"--\w+", cell)]


def test_the_table_of_the_docs_has_every_alias_and_no_other():
    tested = {other.split()[0] for other, _ in SAME if not other.startswith("--no-")}
    assert set(documented()) == tested | IGNORED | NO_FLAG_OF_A_RUN
    spellings = {s for action in tester_parser().flags for s in action.option_strings[1:]}
    assert {s for s in spellings if not s.startswith("--no-")} <= set(documented())


# -------------------------------------------------------------- what was stored


@pytest.mark.parametrize("run", ["dance_run", "robot_run"])
def test_every_setting_of_a_former_run_has_a_name_of_now(run):
    stored = json.loads((FIXTURES / run / "settings.json").read_text())
    present = present_names(tester_parser(), stored)
    former = {
        **{"replay": "prediction_buffer", "stray": "context_swap", "scene": "positional_bias"},
        **{"mirror": "flip_prob", "patch": "patch_size", "tfr_coin": "tfr_granularity"},
        **{"z": "latent", "keep": "keep_checkpoints", "max_norm": "grad_clip_norm"},
    }
    assert former.keys() <= stored.keys()
    for name, value in stored.items():
        if name == "condition":
            assert present["action_free"] is not value
        elif name == "model":
            assert present["model"] == {"dance": "cvae", "svg": "svg"}[value]
        else:
            assert present[former.get(name, name)] == value, name
    assert len(present) == len(stored)
    assert present.keys() <= tester_parser().scopes.keys()


def test_present_names_of_values_and_of_what_nobody_knows():
    parser = tester_parser()
    stored = {"model": "dance", "preset": "best", "condition": False, "no_such_flag": 3}
    assert present_names(parser, stored) == {
        "model": "cvae",
        "preset": "large",
        "action_free": True,
        "no_such_flag": 3,
    }
    assert present_names(parser, {"model": 7, "preset": None}) == {"model": 7, "preset": None}


@pytest.mark.parametrize(
    "names", [("replay", "prediction_buffer"), ("prediction_buffer", "replay")]
)
def test_the_name_of_now_wins_over_the_former_one(names):
    values = {"replay": False, "prediction_buffer": True}
    stored = {name: values[name] for name in names}
    assert present_names(tester_parser(), stored) == {"prediction_buffer": True}


def test_present_names_stay_as_they_are():
    parser = tester_parser()
    settings = vars(make_settings(parser, {"preset": "quick"}))
    assert present_names(parser, settings) == settings
