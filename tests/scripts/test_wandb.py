"""A run with wandb from its training to its test, read back from the files that wandb wrote."""

import json

import pytest

import Tester
import Trainer
from engine.output.wandb_log import send_results
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


def test_the_test_of_a_robot_trained_without_wandb_is_a_run_of_its_own(offline, tmp_path, capsys):
    results, run = tmp_path / "results", tmp_path / "run"
    results.mkdir()
    steps = (
        "metric,of,frame,mean\npsnr,best,2,30\npsnr,best,3,29\npsnr,mean,2,28\nssim,best,2,0.9\n"
    )
    (results / "steps.csv").write_text(steps)
    (results / "summary.csv").write_text("of,psnr,psnr_ci\nbest of 20,29.5,\nmean of 20,28,0.5\n")
    settings = {"split": "val", "wandb_id": None}
    send_results(results, settings, run)
    assert "a run of its own" in capsys.readouterr().out
    own, (row,) = read(results)
    assert own == json.loads((results / "wandb.json").read_text())["id"]
    scores = {name: value for name, value in row.items() if isinstance(value, float | int)}
    assert {n: v for n, v in scores.items() if n.startswith("test_val/")} == {
        "test_val/best_of_20_psnr": 29.5,
        "test_val/mean_of_20_psnr": 28,
        "test_val/mean_of_20_psnr_ci": 0.5,
    }
    (place,) = results.glob("wandb/offline-run-*/files")
    table = json.loads((place / row["test_val/psnr_by_frame_table"]["path"]).read_text())
    assert [line for line in table["data"] if "best" in line] == [[2, "best", 30], [3, "best", 29]]
    send_results(results, settings, run)  # again: the same run
    assert read(results)[0] == own


def test_a_new_run_without_the_flag_logs_nothing(offline, small_root, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "wandb.json").write_text('{"id": "left over"}')  # of a run that is not gone on with
    code, said = call(Trainer, "--DR", small_root, "--save_root", run, *SMALL, "--num_epoch", "1")
    assert code == 0, said
    assert not (run / "wandb").exists()
