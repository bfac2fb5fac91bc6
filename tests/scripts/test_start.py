"""What a run says before and while it trains: the block, a dry run, the bar, quarters, epochs."""

import csv
import io
import re
from types import SimpleNamespace

import pytest
import torch
from tqdm import tqdm

import Tester
import Trainer
from core.threads import Threads
from engine.checkpoints import checkpoint
from engine.training import overview
from engine.training.epoch_metrics import EpochMetrics
from engine.training.loop import TrainingLoop
from engine.training.overview import duration
from engine.training.progress import FirstSteps, progress_bar, refresh, stage, validating
from engine.training.run import Run
from settings.flags import trainer_parser
from settings.resolve import make_settings
from tests.support import toy
from tests.support.hostile import SMALL, call, contents, rollout_flags

FLAGS = (*SMALL, "--batch_size", "1", "--num_epoch", "2")


def train(root, folder, *flags):
    code, said = call(Trainer, "--DR", root, "--save_root", folder, *FLAGS, *flags)
    assert code == 0, said
    return said


# -------------------------------------------------------------------- the block


NAMES = ("data", "windows", "validation", "model", "settings", "computes", "length", "writes")


def block_of(said: str) -> dict[str, str]:
    """Return the lines of the block by what they are about, broken ones joined."""
    joined = re.sub(r"\n {4,}", " ", said)
    return dict(re.findall(rf"^({'|'.join(NAMES)}) +(.*)$", joined, re.M))


def test_a_start_says_what_it_is_about_to_do(small_root, tmp_path):
    said = train(small_root, tmp_path / "run")
    assert "--kl_anneal_cycle 1 or fewer has it climb" in " ".join(said.split())
    block = block_of(said)
    assert block["data"] == f"{small_root}: 12 frames; an epoch is 3 steps of 1 windows"
    assert block["windows"] == "3 of 4 frames an epoch, in 2 recordings of 12 frames"
    assert (
        "every epoch on val, 1 clip of 4 frames; best.ckpt is chosen by val" in block["validation"]
    )
    content = checkpoint.load(tmp_path / "run" / "last.ckpt")
    names = [n for n in content["state_dict"] if not n.endswith(("_mean", "_var", "_tracked"))]
    count = sum(content["state_dict"][name].numel() for name in names)
    assert block["model"] == f"cvae, {count:,} parameters"
    assert block["settings"].startswith("--preset lab with --train_vi_len 4 (not 16)")
    assert "--F_dim 8 (not 128)" in block["settings"]
    assert "cpu, " in block["computes"]
    assert "1 thread on " in block["computes"]
    assert block["length"] == "epochs 0 to 1, 6 steps"
    assert block["writes"] == str((tmp_path / "run").resolve())
    lines = said[: said.index("baselines")].splitlines()
    assert max(len(line) for line in lines if "/" not in line) <= 80, "but for long paths"
    block = block_of(train(small_root, tmp_path / "run", "--num_epoch", "3"))
    assert block["length"] == "epochs 2 to 2, 3 steps to go"


def test_flags_that_the_preset_has_already_are_not_told(small_root, tmp_path):
    said = train(small_root, tmp_path / "run", "--lr", "0.0001", "--minutes", "0.001")
    block = block_of(said)
    assert "--lr" not in block["settings"]
    assert "--minutes 0.001 (not none)" in block["settings"]
    assert block["length"].startswith("0.001 minutes of training; schedules of 2 epochs")


def test_a_task_adds_lines_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(
        toy.ToyTask, "overview", lambda self, data: {"noise": f"{len(data.frames)}"}
    )
    with toy.registered():
        flags = ("--model", "toy", "--DR", ".", "--batch_size", "4", "--device", "cpu", "--dry_run")
        code, said = call(Trainer, *flags, "--save_root", tmp_path / "run")
    assert code == 0, said
    assert re.search(r"^noise +40$", said, re.M)


def test_a_dry_run_times_steps_and_writes_nothing(small_root, tmp_path):
    before = contents(tmp_path)
    said = train(small_root, tmp_path / "run", "--num_epoch", "50", "--dry_run")
    assert contents(tmp_path) == before
    assert block_of(said)["writes"] == f"nothing (--dry_run; else {(tmp_path / 'run').resolve()})"
    assert re.search(r"^a step takes \d+ ms: about [\d.]+ (ms|s|min) to the end", said, re.M)
    assert "baselines" not in said


def test_a_dry_run_leaves_a_run_to_resume_alone(small_root, tmp_path):
    train(small_root, tmp_path / "run")
    before = contents(tmp_path / "run")
    said = train(small_root, tmp_path / "run", "--num_epoch", "3", "--dry_run")
    assert "going on from" in said
    assert contents(tmp_path / "run") == before


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0851, "85 ms"), (3.21, "3.2 s"), (60, "60 s"), (600, "10 min"), (7500, "2 h 05 min")],
)
def test_times_are_told_as_one_reads_them(seconds, words):
    assert duration(seconds) == words


def test_a_run_tells_its_length_once_after_its_first_steps(monkeypatch):
    first = FirstSteps()
    found = [first.add(seconds) for seconds in (9.0, 9.0, *[0.5] * 30)]
    assert [mean for mean in found if mean] == [0.5], "without the steps that get memory"
    assert found.index(0.5) == 11
    left = SimpleNamespace(
        settings=make_settings(trainer_parser(), {"num_epoch": 4}),
        epoch=1,
        epoch_metrics=EpochMetrics(batches=20),
    )
    data = SimpleNamespace(batches_in=lambda epoch: 100)
    assert overview.time_to_the_end(left, data, 0.5) == (
        "a step takes 500 ms: about 2 min to the end, validations not counted"
    )


# ---------------------------------------------------------------------- the bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run_in_progress(**flags) -> SimpleNamespace:
    scheduled = {"beta": 0.000123, "tfr": 0.55, "lr": 0.000123}
    return SimpleNamespace(
        settings=make_settings(trainer_parser(), flags),
        epoch=221,
        step=1234,
        seconds=4321.0,
        best={"psnr": 31.694, "epoch": 12, "set": "val"},
        epoch_metrics=EpochMetrics(frames=12345, seconds=31.0, scheduled=scheduled),
    )


@pytest.mark.parametrize("flags", [{"num_epoch": 340}, {"preset": "quick", "minutes": 120.0}])
@pytest.mark.parametrize("columns", [80, 140])
def test_the_bar_fits_with_loss_and_best_score(flags, columns, monkeypatch):
    run, data = run_in_progress(**flags), SimpleNamespace(batches_in=lambda epoch: 1000)
    output = Terminal()
    monkeypatch.setattr("sys.stderr", output)
    with progress_bar(run, data) as bar:
        bar.dynamic_ncols, bar.ncols = None, columns
        bar.start_t -= 30_000  # hours are left
        refresh(bar, run, 0.00123456)
        shown = str(bar)
    assert len(shown) <= columns
    assert "loss 0.00123" in shown
    assert "best 31.69 dB" in shown
    assert "epoch 221" in shown
    assert ("398 frames/s" in shown) == (columns == 140)


def test_before_a_validation_no_best_score_is_shown(monkeypatch):
    run = run_in_progress(num_epoch=340)
    run.best = {"psnr": float("-inf"), "epoch": -1, "set": "val"}
    monkeypatch.setattr("sys.stderr", Terminal())
    with progress_bar(run, SimpleNamespace(batches_in=lambda epoch: 10)) as bar:
        refresh(bar, run, 0.5)
        assert "best" not in str(bar)


def test_validating_scoring_and_saving_are_shown(small_root, tmp_path, monkeypatch):
    shown, output = [], Terminal()
    set_description = tqdm.set_description_str

    def record(self, words=None, refresh=True):
        shown.append(words)
        set_description(self, words, refresh)

    monkeypatch.setattr("engine.training.progress.SECONDS_PER_REFRESH", 0.0)
    monkeypatch.setattr(tqdm, "set_description_str", record)
    monkeypatch.setattr("sys.stderr", output)
    code = 0
    monkeypatch.setattr("sys.argv", ["Trainer.py", *map(str, (
        "--DR", small_root, "--save_root", tmp_path / "run", *FLAGS))])  # fmt: skip
    Trainer.main()
    assert code == 0
    for words in ("epoch 0, val: frame 2/4", "epoch 0, val: frame 4/4", "epoch 0, val: score 1/1"):
        assert words in shown
    assert "epoch 1: saving" in shown
    assert shown.index("epoch 0, val: frame 4/4") < shown.index("epoch 0: saving")


def test_where_nobody_watches_nothing_is_drawn(monkeypatch):
    output = io.StringIO()
    monkeypatch.setattr("sys.stderr", output)
    with progress_bar(run_in_progress(), SimpleNamespace(batches_in=lambda epoch: 1)) as bar:
        stage(bar, "epoch 0: saving")
        validating(bar, 0, "val")("frame", 1, 2)
    assert output.getvalue() == ""


# ------------------------------------------------------------- epochs and quarters


def test_epochs_count_alike_in_words_log_and_files(small_root, tmp_path):
    said = train(small_root, tmp_path / "run", "--num_epoch", "3", "--per_save", "1")
    told = re.findall(r"^epoch (\d+)/2: ", said, re.M)
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").open()))
    files = sorted(path.stem for path in (tmp_path / "run").glob("epoch=*.ckpt"))
    assert told == [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert files == [f"epoch={epoch}" for epoch in told]
    best = re.search(r"^best.ckpt: epoch (\d+), val ([\d.]+) dB", said, re.M)
    row = rows[int(best[1])]
    assert f"{float(row['val_psnr']):.2f}" == best[2]
    assert re.search(rf"^epoch {best[1]}/2: .* \(best {best[2]} dB in epoch {best[1]}", said, re.M)
    code, said = call(Tester, *rollout_flags(small_root, tmp_path / "run", "--save_root",
                                             tmp_path / "test", "--no_report"))  # fmt: skip
    assert code == 0, said
    assert f"best.ckpt: epoch {best[1]}, step {row['step']}, val {best[2]} dB" in said


def clocked(monkeypatch, seconds_a_step: float) -> None:
    """Let every step seem to take so long."""
    step = Run.train_step

    def stepping(self, *arguments):
        self.seconds += seconds_a_step
        return step(self, *arguments)

    monkeypatch.setattr(Run, "train_step", stepping)


@pytest.mark.parametrize("seconds_a_step", [25.0, 100.0], ids=["short epochs", "long epochs"])
def test_a_time_boxed_run_validates_four_times(small_root, tmp_path, monkeypatch, seconds_a_step):
    """Ten minutes in epochs of three steps; --per_val alone would validate at the end."""
    clocked(monkeypatch, seconds_a_step)
    ended = []
    train_epoch = TrainingLoop.train_epoch

    def noted(self, bar):
        train_epoch(self, bar)
        ended.append(self.run.seconds)

    monkeypatch.setattr(TrainingLoop, "train_epoch", noted)
    said = train(small_root, tmp_path / "run", "--minutes", "10", "--per_val", "1000")
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").open()))
    assert len(rows) == len(ended)
    ends = [end for row, end in zip(rows, ended) if row["val_psnr"]]
    assert len(ends) == said.count("dB (best") == 4
    for quarter, end in enumerate(ends, 1):
        late = max(seconds_a_step, 75)  # a step, or an epoch of an eighth of the time
        assert 150 * quarter <= end <= 150 * quarter + late + 5


def test_an_interrupted_epoch_knows_when_it_began(settings):
    run = Run.__new__(Run)
    run.settings = settings(minutes=10.0)
    run.epoch_began, run.seconds = 140.0, 149.0
    assert not run.passed_quarter
    run.seconds = 151.0
    assert run.passed_quarter
    assert not run.epoch_is_long
    run.seconds = 220.0
    assert run.epoch_is_long
    run.settings = settings()
    assert not run.passed_quarter


def test_the_block_names_threads(settings, monkeypatch):
    run = SimpleNamespace(
        compute=SimpleNamespace(device=torch.device("cpu"), bf16=True, compiled=False)
    )
    line = overview.computes_line(run, Threads(1, "other work there: 9.0 times as quick as 2", 2))
    assert line.startswith("cpu, bf16 convolutions, 1 thread on ")
    assert line.endswith("(other work there: 9.0 times as quick as 2)")
