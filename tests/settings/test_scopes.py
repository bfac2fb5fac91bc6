"""What a flag decides about: what a continued run inherits, what makes a run what it is.

The lists of names are those of the last commit before flags declared a scope (0ca9237).
"""

import pytest

from engine.checkpoints import checkpoint
from settings.fingerprint import differences, global_batch_size, run_fingerprint
from settings.flags import tester_parser, trainer_parser
from settings.models import MODELS
from settings.parsing import Scope
from settings.resolve import make_settings, present_names
from tests.support import FIXTURES

# Not inherited; not part of the fingerprint, but for where a run began.
PLACE = {
    *("DR", "save_root", "ckpt_path", "warm_start", "test", "device", "compile", "gpu", "cuda"),
    *("num_workers", "cache_dir", "preset", "wandb", "wandb_id", "wandb_artifacts", "tensorboard"),
    *("store_visualization", "no_report", "resume", "overwrite", "split", "GT", "export_lab"),
    *("no_sanity", "make_gif", "num_samples"),
}
# Inherited, but not part of the fingerprint.
LENGTH = {"num_epoch", "minutes", "per_save", "per_val", "keep", "save_every_minutes"}
START = {"ckpt_path", "warm_start"}
# Both.
RECIPE = {
    *("model", "seed", "precision", "train_vi_len", "partial", "fast_train", "fast_partial"),
    *("fast_train_epoch", "holdout", "batch_size", "optim", "beta1", "lr", "weight_decay"),
    *("lr_schedule", "lr_milestones", "lr_step_size", "lr_gamma", "lr_warmup", "max_norm", "bptt"),
    *("tfr", "tfr_sde", "tfr_d_step", "tfr_lower_bound", "tfr_coin", "replay", "stray"),
    *("kl_anneal_type", "kl_anneal_cycle", "kl_anneal_period", "kl_anneal_ratio"),
    *("kl_anneal_start", "kl_anneal_stop", "z", "temperature"),
}
RECIPE_OF_THE_DANCE = {
    *("frame_H", "frame_W", "val_vi_len", "fixed_windows", "augment", "mirror", "F_dim", "L_dim"),
    *("zoom_prob", "limb_rotation_prob", "limb_dropout", "cauchy_scale"),
    *("N_dim", "D_out_dim", "output_activation", "scene", "patch", "scales"),
}
RECIPE_OF_THE_ROBOT = {
    *("n_past", "n_future", "n_eval", "epoch_size", "g_dim", "z_dim", "rnn_size", "vgg_width"),
    *("posterior_rnn_layers", "predictor_rnn_layers", "prior", "condition", "last_frame_skip"),
    "val_sequences",
}
# Flags that there were not:
SINCE = dict.fromkeys(
    ("video", "export_safetensors", "threads", "dry_run", "check", "tta", "fill_poses"), Scope.PLACE
)


def now(names: set[str]) -> set[str]:
    """Return the names that settings have now."""
    return set(present_names(tester_parser(), dict.fromkeys(names)))


def test_every_scope_is_what_it_was():
    expected = dict.fromkeys(now(RECIPE | RECIPE_OF_THE_DANCE | RECIPE_OF_THE_ROBOT), Scope.RECIPE)
    expected |= dict.fromkeys(now(LENGTH), Scope.LENGTH) | dict.fromkeys(PLACE, Scope.PLACE)
    expected |= dict.fromkeys(START, Scope.START) | SINCE
    assert tester_parser().scopes == expected


@pytest.mark.parametrize("name", trainer_parser().scopes)
def test_both_scripts_agree_on_a_flag(name):
    trainer, tester = trainer_parser(), tester_parser()
    assert trainer.scopes[name] == tester.scopes[name]
    assert trainer.model_of.get(name) == tester.model_of.get(name)
    assert trainer.defaults[name] == tester.defaults[name]


@pytest.mark.parametrize(
    ("model", "own"), [("cvae", RECIPE_OF_THE_DANCE), ("svg", RECIPE_OF_THE_ROBOT)]
)
def test_the_fingerprint_has_the_settings_it_had_but_those_of_the_other_model(model, own):
    settings = make_settings(trainer_parser(), {"model": model})
    found = run_fingerprint(settings, 3)
    assert found.keys() == now(RECIPE | START | own) | {"processes"}
    assert found["processes"] == 3


# flags that those runs did not know
ADDED = (
    "zoom_prob",
    "limb_rotation_prob",
    "limb_dropout",
    "cauchy_scale",
    "kl_anneal_period",
    "scales",
)


@pytest.mark.parametrize("run", ["dance_run", "robot_run"])
def test_the_fingerprint_of_a_former_run_is_found_again(run):
    source = checkpoint.read(FIXTURES / run / "last.ckpt")
    former = source.content["fingerprint"]
    found = run_fingerprint(make_settings(trainer_parser(), source.settings), 1)
    parser, known = tester_parser(), present_names(tester_parser(), former)
    since = {name: found.pop(name) for name in ADDED if name in found and name not in known}
    assert all(value == parser.defaults[name] for name, value in since.items())
    assert found.items() <= known.items()
    assert differences(former, found | since) == []
    for name in found.keys() - {"processes"}:
        assert differences(former, found | {name: "other"})[0].startswith(f"{name}: ")


def test_a_continued_run_inherits_all_but_the_places():
    parser = tester_parser()
    odd = make_settings(parser, {}).but(
        lr=0.125, num_epoch=9, DR="there", warm_start="there", preset="quick", video="mp4"
    )
    found = make_settings(parser, {}, vars(odd) | {"ckpt_path": "there"})
    assert (found.lr, found.num_epoch) == (0.125, 9)
    assert (found.DR, found.warm_start, found.ckpt_path, found.video) == (None, None, None, "gif")
    assert found.preset == "quick"  # which gives what no setting of the checkpoint says


# ----------------------------------------------------------------- differences


def test_processes_and_batches_that_make_up_for_each_other_are_no_difference():
    old = {"batch_size": 8, "processes": 1, "lr": 0.1}
    assert differences(old, {"batch_size": 2, "processes": 4, "lr": 0.1}) == []
    assert differences(old, {"batch_size": 8, "processes": 4, "lr": 0.1}) == []
    assert differences(old, {"batch_size": 4, "processes": 1, "lr": 0.1}) == ["batch_size: 8 → 4"]
    assert differences(old, {"batch_size": 8, "processes": 1, "lr": 0.2}) == ["lr: 0.1 → 0.2"]
    assert global_batch_size(old) == 8
    assert global_batch_size({"batch_size": 8}) == 8
    assert global_batch_size({"processes": 2}) is None


def test_what_one_of_them_does_not_know_is_no_difference():
    assert differences({"lr": 1}, {"lr": 1, "a_flag_since": True}) == []
    assert differences({"lr": 1, "a_flag_of_then": True}, {"lr": 1}) == []
    assert differences({"output_activation": None}, {"output_activation": "clamp"}) == []
    assert differences({"output_activation": "none"}, {"output_activation": "clamp"}) != []


@pytest.mark.parametrize("model", MODELS)
def test_a_flag_belongs_to_one_model_or_to_all(model):
    parser = tester_parser()
    assert MODELS[model].lacks.keys() <= parser.scopes.keys() - parser.model_of.keys()
