"""A run with wandb from its training to its test, read back from the files that wandb wrote."""

import json

import pytest

import Tester
import Trainer
from tests.support.hostile import SMALL, call
from tests.support.wandb_files import items_of, records_of

pytest.importorskip("wandb")


@pytest.fixture
def offline(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_MODE", "offline")


def read(folder, which: int = -1) -> tuple[str, list[dict]]:
    """Return the id of one of the wandb runs below a folder, and its history."""
    records = records_of(sorted(folder.glob("wandb/offline-run-*"))[which])
    (run_id,) = {r.run.run_id for r in records if r.HasField("run")}
    return run_id, [items_of(r.history.item) for r in records if r.HasField("history")]


def test_a_run_goes_on_and_its_test_joins_it(offline, small_root, tmp_path):
    run, results = tmp_path / "run", tmp_path / "results"
    train = ["--DR", small_root, "--save_root", run, *SMALL]
    code, said = call(Trainer, *train, "--num_epoch", "1", "--wandb")
    assert code == 0, said
    wandb_id, history = read(run)
    assert wandb_id == json.loads((run / "wandb.json").read_text())["id"]
    assert any("within/loss" in row for row in history)
    (epoch,) = [row for row in history if "epoch" in row]
    assert {"train/loss", "val/val_loss", "val/val_mse", "val/val_kl"} <= epoch.keys()

    code, said = call(Trainer, *train, "--num_epoch", "2")  # resumed, the flag left out
    assert code == 0, said
    assert "goes on logging to wandb" in said
    again, history = read(run)
    assert again == wandb_id
    assert [row["epoch"] for row in history if "epoch" in row] == [1]
    last_step = history[-1]["_step"]

    code, said = call(
        Tester, "--DR", small_root, "--save_root", results, "--ckpt_path", run, "--wandb"
    )
    assert code == 0, said
    tested, (row,) = read(results)
    assert tested == wandb_id
    assert row["_step"] > last_step
    assert row["test/pred_seq0"]["_type"] == "video-file"
    assert row["test/scores"]["_type"] == "image-file"
    assert row["test/summary_table"]["_type"] == "table-file"
    assert row["test/psnr_by_frame_table"]["_type"] == "table-file"
    assert row["test/mean_psnr"] == pytest.approx(kaggle_mean(results), rel=1e-4)


def kaggle_mean(results) -> float:
    lines = (results / "summary.csv").read_text().splitlines()
    table = {line.split(",")[0]: line.split(",") for line in lines}
    return float(table["mean"][table["sequence"].index("psnr")])


def test_a_new_run_without_the_flag_logs_nothing(offline, small_root, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "wandb.json").write_text('{"id": "left over"}')  # of a run that is not gone on with
    code, said = call(Trainer, "--DR", small_root, "--save_root", run, *SMALL, "--num_epoch", "1")
    assert code == 0, said
    assert not (run / "wandb").exists()
