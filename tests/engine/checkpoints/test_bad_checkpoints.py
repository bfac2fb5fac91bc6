"""Known-bad checkpoints: exit code 2, the name of the file, no traces.

`refused` (conftest.py) checks that nothing was left half-written.
"""

import csv
import io
import pickle
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

import Tester
import Trainer
from tests.support.hostile import NO_FILES, call, rollout_flags, trainer_flags, turned


def test_a_checkpoint_that_is_not_there(refused, root, tmp_path):
    assert "none.ckpt" in refused(Tester, *rollout_flags(root, tmp_path / "none.ckpt"))
    (tmp_path / "empty").mkdir()
    assert "epoch=N.ckpt" in refused(Tester, *rollout_flags(root, tmp_path / "empty"))


def rezipped(data: bytes, change=lambda name, entry: entry, **how) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w", **how) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return file.getvalue()


def flipped(data: bytes) -> bytes:
    """Flip bits of one byte inside a weight: nothing checks what lies between the entries."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entry = archive.read(max(archive.infolist(), key=lambda info: info.file_size))
    place = data.index(entry) + len(entry) // 2
    return turned(data, range(place, place + 1))


FILES = {  # what becomes of the bytes of a checkpoint
    "empty": lambda data: b"",
    "cut at a third": lambda data: data[: len(data) // 3],
    "cut before its end": lambda data: data[:-100],
    "a flipped byte": flipped,
    "compressed entries": lambda data: rezipped(data, compression=zipfile.ZIP_DEFLATED),
    "a pickle of junk": lambda data: rezipped(
        data, lambda name, entry: b"junk" if name.endswith("data.pkl") else entry
    ),
    "weights too short": lambda data: rezipped(
        data, lambda name, entry: entry[:4] if "/data/" in name else entry
    ),
    "a picture": lambda data: b"\x89PNG\r\n\x1a\n" + data,
    "a table": lambda data: b"epoch,loss\n0,1.0\n",
    "words": lambda data: b"author: me",
    "a pickle": lambda data: pickle.dumps({"state_dict": {}}),
    "a pickle of nests": lambda data: b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "nothing but zeros": lambda data: bytes(1000),
}


@pytest.mark.parametrize("case", FILES)
def test_a_damaged_checkpoint_is_named(refused, root, ours, case):
    ours.write_bytes(FILES[case](ours.read_bytes()))
    assert str(ours) in refused(Tester, *rollout_flags(root, ours))
    assert str(ours) in refused(Trainer, *trainer_flags(root, "--warm_start", ours))


@pytest.mark.parametrize("case", NO_FILES)
def test_a_checkpoint_that_is_no_file_is_named(refused, root, ours, case):
    ours.unlink()
    NO_FILES[case](ours)
    assert "ours.ckpt" in refused(Tester, *rollout_flags(root, ours))


WEIGHT = "Generator.7.weight"


def weight(change):
    def changed(content: dict) -> None:
        content["state_dict"][WEIGHT] = change(content["state_dict"][WEIGHT])

    return changed


def entry(*path, value):
    """Return what sets `content[path…]`; a callable value is given the old one."""

    def changed(content: dict) -> None:
        for name in path[:-1]:
            content = content[name]
        content[path[-1]] = value(content[path[-1]]) if callable(value) else value

    return changed


def holding_itself(content: dict) -> None:
    content["best"]["holdout"] = [content["best"]]


CONTENTS = {  # what becomes of its content, and a word of what is said
    "no weights": (lambda c: c.pop("state_dict"), "state_dict"),
    "weights in a list": (entry("state_dict", value=lambda w: list(w.values())), "state_dict"),
    "a weight that is a number": (weight(lambda w: 3.0), "state_dict"),
    "a weight without a name": (
        lambda c: c["state_dict"].update({7: torch.ones(2)}),
        "without a name",
    ),
    "a weight missing": (lambda c: c["state_dict"].pop(WEIGHT), WEIGHT),
    "a weight too many": (lambda c: c["state_dict"].update(extra=torch.ones(2)), "extra"),
    "another shape": (weight(lambda w: w[:2]), WEIGHT),
    "NaN": (weight(lambda w: w * float("nan")), "not finite"),
    "infinity": (weight(lambda w: w / 0), "not finite"),
    "beyond float32": (weight(lambda w: w.double() * 1e300), "not finite"),
    "whole numbers": (weight(lambda w: w.int()), "int32"),
    "complex": (weight(lambda w: w.to(torch.complex64)), "complex64"),
    "truth values": (weight(lambda w: w > 0), "bool"),
    "sparse": (weight(lambda w: w.to_sparse()), "sparse"),
    "on no device": (weight(lambda w: w.to("meta")), "meta"),
    "a weight that claims more than it stores": (
        weight(lambda w: torch.zeros(1).expand(w.shape)),
        "stores fewer",
    ),
    "widths of nothing": (
        entry("state_dict", "Decoder_Fusion.5.weight", value=torch.ones(4096, 0)),
        "D_out_dim",
    ),
    "an optimizer in a list": (entry("optimizer", value=[1, 2]), "optimizer"),
    "epoch a word": (entry("last_epoch", value="seven"), "last_epoch"),
    "epoch negative": (entry("last_epoch", value=-7), "last_epoch"),
    "epoch huge": (entry("last_epoch", value=10**30), "last_epoch"),
    "step negative": (entry("step", value=-1), "step"),
    "step a tensor": (entry("step", value=torch.tensor(3)), "step"),
    "no step": (lambda c: c.pop("step"), "step"),
    "seconds unknown": (entry("seconds", value=float("nan")), "seconds"),
    "best a number": (entry("best", value=31.2), "best"),
    "best without its score": (lambda c: c["best"].pop("psnr"), "best"),
    "best a text": (entry("best", "psnr", value="31"), "best"),
    "best that holds itself": (holding_itself, "best"),
    "settings a list": (entry("settings", value=["lr"]), "settings"),
    "settings with a tensor": (entry("settings", "lr", value=torch.ones(3)), "settings"),
    "a rate of words": (entry("settings", "lr", value="fast"), "lr = 'fast'"),
    "a rate of none": (entry("settings", "lr", value=None), "lr = None"),
    "a negative batch": (entry("settings", "batch_size", value=-2), "batch_size = -2"),
    "a length of one": (entry("settings", "train_vi_len", value=1), "train_vi_len = 1"),
    "an unknown preset": (entry("settings", "preset", value="evil"), "preset = 'evil'"),
    "milestones of one": (entry("settings", "lr_milestones", value=3), "lr_milestones = 3"),
    "another width": (entry("settings", "F_dim", value=16), "F_dim = 16"),
    "a fingerprint with a tensor": (entry("fingerprint", "lr", value=torch.ones(3)), "fingerprint"),
    "a begun epoch in a list": (entry("epoch_metrics", value=[1]), "epoch_metrics"),
    "a begun epoch of minus one": (entry("epoch_metrics", "batches", value=-1), "epoch_metrics"),
    "a begun epoch of no time": (entry("epoch_metrics", "seconds", value=0.0), "epoch_metrics"),
    "a sum of many": (
        entry("epoch_metrics", "metrics", "loss", value=torch.ones(3)),
        "epoch_metrics",
    ),
    "a sum missing": (lambda c: c["epoch_metrics"]["metrics"].pop("skipped"), "epoch_metrics"),
    "a schedule of words": (entry("epoch_metrics", "scheduled", "lr", value="x"), "epoch_metrics"),
    "a buffer in float": (
        entry("prediction_buffer", value=lambda r: r.float()),
        "prediction_buffer",
    ),
    "a buffer in a list": (
        entry("prediction_buffer", value=lambda r: r.tolist()),
        "prediction_buffer",
    ),
}


@pytest.mark.parametrize("case", CONTENTS)
def test_a_checkpoint_of_other_content_is_named(refused, root, ours, case):
    change, says = CONTENTS[case]
    content = torch.load(ours, weights_only=True)
    change(content)
    torch.save(content, ours)
    said = refused(Trainer, *trainer_flags(root, "--ckpt_path", ours))
    assert str(ours) in said
    assert says in said


CONTINUATIONS = {  # what only a continued training reads
    "a moment of another shape": (
        entry("optimizer", "state", 0, "exp_avg", value=lambda m: m[..., :1]),
        "exp_avg",
    ),
    "a moment in whole numbers": (
        entry("optimizer", "state", 0, "exp_avg", value=lambda m: m.int()),
        "exp_avg",
    ),
    "a moment of NaN": (
        entry("optimizer", "state", 0, "exp_avg", value=lambda m: m / 0 * 0),
        "exp_avg",
    ),
    "a negative square": (
        entry("optimizer", "state", 0, "exp_avg_sq", value=lambda m: m - 1),
        "exp_avg_sq",
    ),
    "a moment missing": (lambda c: c["optimizer"]["state"][0].pop("step"), "optimizer"),
    "a step that is no tensor": (entry("optimizer", "state", 0, "step", value=3), "step"),
    "states in a list": (entry("optimizer", "state", value=[]), "optimizer"),
    "states of others": (entry("optimizer", "state", value={10**9: {}}), "optimizer"),
    "a buffer of other frames": (
        entry("prediction_buffer", value=lambda r: r[:5]),
        "prediction buffer",
    ),
}


@pytest.mark.parametrize("case", CONTINUATIONS)
def test_a_state_that_does_not_fit_is_named_where_training_goes_on(refused, root, ours, case):
    change, says = CONTINUATIONS[case]
    content = torch.load(ours, weights_only=True)
    change(content)
    torch.save(content, ours)
    said = refused(Trainer, *trainer_flags(root, "--ckpt_path", ours))
    assert says in said
    assert "--warm_start" in said


LAB = {  # what becomes of a checkpoint of the lab
    "a rate of words": (entry("lr", value="fast"), "fast"),
    "a rate of NaN": (entry("lr", value=float("nan")), "nan"),
    "a negative rate": (entry("lr", value=-1.0), "-1.0"),
    "a rate of many": (entry("lr", value=[0.1, 0.2]), "list"),
    "an epoch of words": (entry("last_epoch", value="twenty"), "twenty"),
    "an epoch before the first": (entry("last_epoch", value=-9), "-9"),
    "an epoch without end": (entry("last_epoch", value=float("inf")), "infinity"),
    "a ratio of none": (entry("tfr", value=None), "NoneType"),
    "a ratio of NaN": (entry("tfr", value=float("nan")), "nan"),
}


@pytest.mark.parametrize("case", LAB)
def test_a_lab_checkpoint_whose_numbers_are_none(refused, root, ours, case):
    change, says = LAB[case]
    weights = torch.load(ours, weights_only=True)["state_dict"]
    content = {"state_dict": weights, "optimizer": weights, "lr": 1e-3, "tfr": 0.5, "last_epoch": 3}
    change(content)
    torch.save(content, ours)
    said = refused(Trainer, *trainer_flags(root, "--ckpt_path", ours))
    assert says in said
    assert "--warm_start" in said


def test_a_run_begun_from_a_lab_checkpoint_goes_on_with_its_rates(root, ours, tmp_path):
    """The rates of the file, counted back to epoch 0, are beyond what the flags would take."""
    weights = torch.load(ours, weights_only=True)["state_dict"]
    lab = {"state_dict": weights, "optimizer": {}, "lr": 5e-4, "tfr": 0.9, "last_epoch": 20}
    torch.save(lab, ours)
    constant = ("--lr_schedule", "constant", "--kl_anneal_type", "None")
    flags = trainer_flags(root, "--ckpt_path", ours, *constant)
    logs = []
    for folder, parts in (("whole", ["24"]), ("parts", ["22", "24"])):
        for epochs in parts:
            place = ("--save_root", tmp_path / folder, "--num_epoch", epochs)
            code, said = call(Trainer, *flags, *place)
            assert code == 0, said
        with (tmp_path / folder / "metrics.csv").open() as file:
            logs.append([(row["lr"], row["tfr"], row["loss"]) for row in csv.DictReader(file)])
    assert "going on from" in said
    assert logs[0] == logs[1]
    assert [float(row[1]) for row in logs[0]] == pytest.approx([0.8, 0.7, 0.6])


def test_entries_that_a_lab_checkpoint_need_not_have_are_not_read(root, ours):
    content = torch.load(ours, weights_only=True)
    content["fingerprint"]["lr"] = content["fingerprint"]
    torch.save(content | {"format": "another"}, ours)
    code, said = call(Tester, *rollout_flags(root, ours))
    assert code == 0, said


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precision_are_taken(root, ours, kind):
    content = torch.load(ours, weights_only=True)
    weights = content["state_dict"]
    half = {name: w.to(kind) if w.is_floating_point() else w for name, w in weights.items()}
    torch.save(content | {"state_dict": half}, ours)
    code, said = call(Trainer, *trainer_flags(root, "--test", "--ckpt_path", ours))
    assert code == 0, said


def test_a_model_flag_that_contradicts_the_checkpoint(refused, root, ours):
    message = refused(Tester, *rollout_flags(root, ours, "--F_dim", "16"))
    assert "--F_dim 16" in message
    assert "F_dim = 8" in message


def test_a_checkpoint_that_runs_code_is_refused_unrun(refused, root, tmp_path):
    canary, path = tmp_path / "canary", tmp_path / "evil.ckpt"

    class Malicious:
        def __reduce__(self):
            return Path.touch, (canary,)

    torch.save({"state_dict": Malicious()}, path)
    assert str(path) in refused(Tester, *rollout_flags(root, path))
    path.write_bytes(pickle.dumps({"state_dict": Malicious()}))
    assert str(path) in refused(Tester, *rollout_flags(root, path))
    assert str(path) in refused(Trainer, *trainer_flags(root, "--warm_start", path))
    (tmp_path / "run").mkdir()
    shutil.copy(path, tmp_path / "run/last.ckpt")
    assert "last.ckpt" in refused(Trainer, *trainer_flags(root, "--ckpt_path", tmp_path / "run"))
    assert not canary.exists()
    pickle.loads(path.read_bytes())  # the canary works: freely unpickled, the file does run
    assert canary.exists()


def test_a_damaged_run_folder_falls_back_to_its_newest_whole_checkpoint(root, small_run, tmp_path):
    run = Path(shutil.copytree(small_run, tmp_path / "out"))
    (run / "last.ckpt").write_bytes(flipped((run / "last.ckpt").read_bytes()))
    content = torch.load(run / "last-1.ckpt", weights_only=True)
    content["state_dict"][WEIGHT].fill_(float("nan"))
    torch.save(content, run / "last-1.ckpt")
    code, said = call(Trainer, *trainer_flags(root, "--ckpt_path", run, "--save_root", run))
    assert code == 0, said
    assert "checksum" in said
    assert "not finite" in said
    assert "taking epoch=1.ckpt instead" in said
