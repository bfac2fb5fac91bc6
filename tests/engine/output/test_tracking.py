"""What wandb and TensorBoard are given, read back from their files; and the terminal's line."""

import json
import os

import numpy as np
import pytest
import torch

from core import distributed
from engine.evaluation.scoring import Scores
from engine.output import wandb_log
from engine.output.pictures import write_gif
from engine.output.tracker import Tracker, log_row, read_log
from engine.training.epoch_metrics import EpochMetrics
from settings.resolve import as_plain
from tests.support.scripts import TINY, good, run
from tests.support.wandb_files import items_of, records_of


def groups(epoch: int, **train: float) -> dict:
    return {
        "train": {"step": 10 * epoch, "loss": 1.0 / (epoch + 1)} | train,
        "schedule": {"beta": 0.5},
        "system": {"frames_per_second": 99.0},
        "val": {"holdout_psnr": 20.0 + epoch},
    }


@pytest.fixture
def scores():
    values = np.linspace(20, 30, 13, dtype=np.float32)
    return {"holdout": [Scores("holdout0", values, values / 40, values, values, values)]}


@pytest.fixture
def gif(tmp_path):
    write_gif(tmp_path / "holdout.gif", torch.zeros(4, 3, 16, 16, dtype=torch.uint8))
    return {"holdout_gif": tmp_path / "holdout.gif"}


def test_whatever_a_model_measures_is_of_its_training():
    so_far = EpochMetrics(batches=4, frames=96, forced=2.0, seconds=3.0)
    so_far.scheduled = {"beta": 0.5, "tfr": 1.0, "lr": 0.1}
    so_far.metrics = {"loss": torch.tensor(6.0), "flow": torch.tensor(9.0)}
    so_far.metrics |= {"skipped": torch.tensor(1.0)}
    assert so_far.row() == {
        "train": {"loss": 2.0, "flow": 3.0, "skipped": 1.0},
        "schedule": {"beta": 0.5, "tfr": 1.0, "lr": 0.1, "teacher_forced": 0.5},
        "system": {"seconds": 3.0, "frames_per_second": 32.0},
    }


def test_the_log_has_the_columns_of_earlier_versions_group_by_group(tmp_path, settings):
    columns = (
        "epoch,step,loss,mse,kl,elbo,grad_norm,skipped,beta,tfr,lr,teacher_forced,seconds,"
        "frames_per_second,val_copy_first_psnr,val_psnr"
    )
    so_far = EpochMetrics(batches=2, frames=1, forced=1.0, seconds=1.0)
    so_far.scheduled = dict.fromkeys(("beta", "tfr", "lr"), 0.0)
    measured = ("loss", "mse", "kl", "elbo", "grad_norm", "skipped")
    so_far.metrics = {name: torch.zeros(()) for name in measured}
    found = so_far.row() | {"val": {"val_copy_first_psnr": 20.0, "val_psnr": 21.0}}
    found["train"] = {"step": 2} | found["train"]
    tracker = Tracker(tmp_path, as_plain(settings()), first_epoch=0)
    tracker.log(0, found, {}, {})
    assert (tmp_path / "metrics.csv").read_text().splitlines()[0] == columns


def test_a_log_of_an_earlier_version_goes_on(tmp_path, settings):
    header = "epoch,step,loss,beta,skipped,seconds,holdout_psnr"
    (tmp_path / "metrics.csv").write_text(f"{header}\n0,10,0.5,0.1,0,2.5,\n1,20,0.4,0.2,0,2.5,21\n")
    tracker = Tracker(tmp_path, as_plain(settings()), first_epoch=2)
    tracker.log(2, groups(2, surprise=0.5), {}, {})
    assert (tmp_path / "metrics.csv").read_text().startswith(header)
    rows = read_log(tmp_path / "metrics.csv")
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert [row["holdout_psnr"] for row in rows] == ["", "21", "22.0"]
    assert [row["surprise"] for row in rows] == ["", "", "0.5"]


@pytest.mark.parametrize("emptied_by", ["us", "an earlier version"])
def test_a_log_goes_on_from_which_all_rows_were_dropped(tmp_path, settings, emptied_by):
    """As where a run is killed that was resumed in its first epoch, whose row had been written."""
    file = tmp_path / "metrics.csv"
    file.write_text("epoch,loss\n0,0.5\n")
    Tracker(tmp_path, as_plain(settings()), first_epoch=0)
    if emptied_by != "us":
        file.write_bytes(b"\r\n")
    assert read_log(file) == []
    tracker = Tracker(tmp_path, as_plain(settings()), first_epoch=0)
    tracker.log(0, groups(0), {}, {})
    assert [row["epoch"] for row in read_log(file)] == ["0"]


def test_two_groups_with_a_figure_of_one_name_are_refused():
    with pytest.raises(ValueError, match="system/loss"):
        log_row(0, {"train": {"loss": 1.0}, "system": {"loss": 2.0}})


# --------------------------------------------------------------------------- wandb


@pytest.fixture
def offline(monkeypatch, tmp_path, settings):
    """Settings of a run with wandb, in a home without a login."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_MODE", "offline")
    return as_plain(settings(wandb=True, wandb_artifacts=True, kl_anneal_type="Monotonic"))


def test_an_offline_run_read_back_from_its_file(
    offline, tmp_path, scores, gif, capsys, monkeypatch
):
    folder = tmp_path / "my-run"
    folder.mkdir()
    (folder / "best.ckpt").write_bytes(b"weights")
    tracker = Tracker(folder, offline, first_epoch=0, artifacts=("best.ckpt", "last.ckpt"))
    tracker.log(0, groups(0, surprise=0.25), {}, {})
    for step in range(3, 6):
        tracker.log_step(step, 0.5 * step, {"loss": torch.tensor(0.25 * step), "beta": 0.1})
        if step == 4:  # the one before it was a moment ago
            monkeypatch.setattr(wandb_log, "SECONDS_PER_POINT", 0.0)
            tracker._logs[0]._next_point = 0.0
    tracker.log(1, groups(1), gif, scores)
    tracker.close()
    tracker.close()  # does nothing
    records = records_of(*folder.glob("wandb/offline-run-*"))

    (begun,) = [r.run for r in records if r.HasField("run")][:1]
    assert begun.display_name == "my-run"
    assert begun.run_id == json.loads((folder / "wandb.json").read_text())["id"]
    assert set(begun.tags) == {"lab", "Monotonic"}
    config = items_of(begun.config.update)
    assert config["kl_anneal_type"] == "Monotonic"
    assert config["lr"] == 1e-4

    metrics = {
        r.metric.glob_name or r.metric.name: r.metric for r in records if r.HasField("metric")
    }
    for group in ("train", "val", "schedule", "system"):
        assert metrics[f"{group}/*"].step_metric == "epoch"

    assert metrics["within/*"].step_metric == "within/seconds"

    history = [items_of(r.history.item) for r in records if r.HasField("history")]
    assert [h["_step"] for h in history] == [0, 3, 5, 10]
    within = [{k: v for k, v in h.items() if k.startswith("within/")} for h in history[1:3]]
    assert within == [
        {"within/seconds": 1.5, "within/step": 3, "within/loss": 0.75, "within/beta": 0.1},
        {"within/seconds": 2.5, "within/step": 5, "within/loss": 1.25, "within/beta": 0.1},
    ]
    history = [h for h in history if "epoch" in h]
    assert [h["epoch"] for h in history] == [0, 1]
    assert history[0]["train/loss"] == 1.0
    assert history[0]["train/surprise"] == 0.25  # of a model that measures more than ours
    assert history[1]["schedule/beta"] == 0.5
    assert history[1]["system/frames_per_second"] == 99.0
    assert history[1]["val/holdout_psnr"] == 21.0
    assert not any(name.startswith("val/holdout_gif") for name in history[0])
    video, table = history[1]["val/holdout_gif"], history[1]["val/holdout_by_frame"]
    assert video["_type"] == "video-file"
    (place,) = folder.glob("wandb/offline-run-*/files")
    assert (place / video["path"]).read_bytes() == gif["holdout_gif"].read_bytes()
    stored = json.loads((place / table["path"]).read_text())
    assert stored["columns"][:3] == ["sequence", "frame", "psnr"]
    assert [line[1] for line in stored["data"]] == list(range(1, 14))
    np.testing.assert_allclose([r[2] for r in stored["data"]], scores["holdout"][0].psnr)

    drawn = json.loads((place / history[1]["val/holdout_psnr_by_frame_table"]["path"]).read_text())
    lines = {
        key: [row for row in drawn["data"] if key in row] for key in ("holdout0", "copy first")
    }
    for line in lines.values():
        assert [row[0] for row in line] == list(range(1, 14))
        np.testing.assert_allclose([row[2] for row in line], scores["holdout"][0].psnr)

    artifacts = [r.request.log_artifact.artifact for r in records if r.HasField("request")]
    artifacts += [r.artifact for r in records if r.HasField("artifact")]
    sent = {a.name: set(a.aliases) for a in artifacts if a.name and a.type == "model"}
    assert sent == {f"{begun.run_id}-best": {"best", "latest"}}
    assert "wandb sync" in capsys.readouterr().out


def test_the_run_goes_on_under_its_id(offline, tmp_path):
    for epoch in (0, 1):
        folder = tmp_path / f"moved{epoch}"  # each offline start has a file of its own
        folder.mkdir()
        if epoch:
            (folder / "wandb.json").write_text((tmp_path / "moved0" / "wandb.json").read_text())
        tracker = Tracker(folder, offline | {"wandb_artifacts": False}, first_epoch=epoch)
        tracker.log(epoch, groups(epoch), {}, {})
        tracker.close()
    ids = [
        next(
            r.run.run_id
            for r in records_of(*(tmp_path / f"moved{epoch}").glob("wandb/offline-run-*"))
            if r.HasField("run")
        )
        for epoch in (0, 1)
    ]
    assert ids[0] == ids[1]
    other = tmp_path / "other"
    other.mkdir()
    for none in ("{", "[]", '{"id": 7}', '{"id": "a/b"}', '{"id": ""}'):
        (other / "wandb.json").write_text(none)
        assert wandb_log.known_run(other) is None
    asked = offline | {"wandb_artifacts": False, "wandb_id": "chosen"}
    Tracker(other, asked, first_epoch=0).close()
    assert json.loads((other / "wandb.json").read_text()) == {"id": "chosen"}


def test_of_several_processes_the_first_alone_logs(offline, tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "is_main", lambda: False)
    Tracker(tmp_path, offline | {"tensorboard": True}, first_epoch=0).close()
    assert not (tmp_path / "wandb").exists()
    assert not (tmp_path / "tensorboard").exists()


# --------------------------------------------------------------------- TensorBoard


def test_tensorboard_files_hold_the_figures_and_continue(tmp_path, settings):
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="no tensorboard"
    )
    wanted = as_plain(settings(tensorboard=True))
    for first, epochs in ((0, (0, 1, 2)), (2, (2, 3))):
        tracker = Tracker(tmp_path, wanted, first_epoch=first)
        for epoch in epochs:
            tracker.log(epoch, groups(epoch, loss=100.0 * first + epoch), {}, {})
        tracker.close()
    read = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    read.Reload()
    assert {"train/loss", "schedule/beta", "system/frames_per_second", "val/holdout_psnr"} <= set(
        read.Tags()["scalars"]
    )
    assert [(e.step, e.value) for e in read.Scalars("train/loss")] == [
        *((0, 0.0), (1, 1.0)),  # epoch 2 was trained again
        *((2, 202.0), (3, 203.0)),
    ]


def test_without_tensorboard_it_says_so_and_trains(dance_root, tmp_path):
    (tmp_path / "tensorboard.py").write_text("raise ImportError('not here')")
    flags = f"--DR {dance_root} --save_root {tmp_path / 'run'} {TINY} --num_epoch 1 --tensorboard"
    done = run("Trainer.py", flags, PYTHONPATH=str(tmp_path) + os.pathsep + os.getcwd())
    good(done)
    assert "pip install tensorboard" in done.stderr
