"""What once ended in a traceback: odd places, damaged JSON, services and memory that lack."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import Reporter
import Tester
import Trainer
from tests.support import toy
from tests.support.faults import Faults, operations_of
from tests.support.hostile import call, rollout_flags, trainer_flags
from tests.support.scripts import ROOT, TINY

NESTED = b"[" * 100_000
TOY = (
    *("--model", "toy", "--DR", ".", "--batch_size", "12", "--device", "cpu", "--num_epoch", "2"),
    *("--precision", "fp32", "--toy_rank", "3"),
)


def script(line: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *shlex.split(line)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )


# -------------------------------------------------------------------------------------- places


def test_a_full_disk_under_tensorboard_does_not_end_a_run(tmp_path):
    pytest.importorskip("tensorboard")

    def train(folder: Path) -> tuple[int, str]:
        return call(Trainer, *TOY, "--tensorboard", "--save_root", folder)

    with toy.registered():
        (tmp_path / "counted/tensorboard").mkdir(parents=True)
        points = operations_of(
            tmp_path / "counted/tensorboard", lambda: train(tmp_path / "counted")
        )
        assert len(points) > 20
        for at in range(1, len(points), 8):  # at 0 the library looks whether the folder is there
            folder = tmp_path / f"refused {at}"
            (folder / "tensorboard").mkdir(parents=True)
            with Faults(folder / "tensorboard", at, "refuse") as faults:
                code, said = train(folder)
            assert code == 0, said
            assert "Traceback" not in said
            assert "could not be written" in said or len(faults.done) <= at
            assert len((folder / "metrics.csv").read_text().splitlines()) == 3


def test_a_user_without_a_home_or_a_name_trains_and_tests(root, tmp_path):
    """As `docker run -u 12345`: no HOME, and no entry in the table of users."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, pwd\n"
        "def unknown(number): raise KeyError(f'getpwuid(): uid not found: {number}')\n"
        "pwd.getpwuid = unknown\n"
        "os.environ.pop('HOME', None); os.environ.pop('XDG_CACHE_HOME', None)\n"
    )
    places = {"PYTHONPATH": str(tmp_path), "TMPDIR": str(tmp_path)}
    flags = " ".join(map(str, trainer_flags(root, "--num_epoch", 1, "--batch_size", 1)))
    done = script(f"Trainer.py {flags}", **places)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("cache-*/conditional-video-vae/*/*.npy"))
    flags = f"--DR {root} --ckpt_path {tmp_path / 'out'} --save_root {tmp_path / 'results'}"
    done = script(f"Tester.py {flags}", **places)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results/report.html").exists()


def test_a_run_folder_whose_name_is_no_text_is_tested_and_reported(root, small_run, tmp_path):
    run = Path(os.fsdecode(os.fsencode(tmp_path / "run ") + b"\xff"))
    shutil.copytree(small_run, run)
    assert call(Tester, *rollout_flags(root, run, "--save_root", run / "test"))[0] == 0
    code, said = call(Reporter, run, run / "test", "--out", tmp_path / "report")
    assert code == 0, said
    for page in (run / "test/report.html", tmp_path / "report/report.html"):
        assert "run \ufffd" in page.read_text()


# -------------------------------------------------------------------------------- damaged JSON


@pytest.fixture
def tested(root, small_run, tmp_path) -> Path:
    """A run folder with results in it."""
    run = Path(shutil.copytree(small_run, tmp_path / "run"))
    flags = rollout_flags(root, run, "--save_root", run / "test", "--no_report")
    assert call(Tester, *flags)[0] == 0
    return run


def nest_description(path: Path) -> None:
    with np.load(path) as arrays:
        content = dict(arrays)
    content["description"] = np.frombuffer(NESTED, np.uint8)
    np.savez_compressed(path, **content)


SPOILT = {
    "settings.json": lambda path: path.write_bytes(NESTED),
    "test/rollout_seq0.npz": nest_description,
}


@pytest.mark.parametrize("name", SPOILT)
def test_nests_without_end_are_refused_by_name(tested, refused, tmp_path, name):
    SPOILT[name](tested / name)
    assert name.split("/")[-1] in refused(Reporter, tested, "--out", tmp_path / "report")


@pytest.mark.parametrize("spoilt", ["nested", "endless"])
def test_a_prepared_folder_with_a_damaged_index_is_refused(root, refused, tmp_path, spoilt):
    import prepare

    size = ("--frame_H", "12", "--frame_W", "12")
    assert call(prepare, "--DR", root, "--out", tmp_path / "prepared", *size)[0] == 0
    index = tmp_path / "prepared/train/train_img/frames.json"
    content = json.loads(index.read_text())
    text = json.dumps(content | {"height": float("inf")}).encode()
    index.write_bytes(NESTED if spoilt == "nested" else text)
    said = refused(Trainer, *trainer_flags(root, "--DR", tmp_path / "prepared"))
    assert "train_img: not prepared as it should be" in said


# ------------------------------------------------------------------------- services and memory

WANDB = {
    "a mode": ({"WANDB_MODE": "bogus"}, ()),
    "a key": ({"WANDB_API_KEY": "short"}, ()),
    "an id": ({"WANDB_MODE": "offline"}, ("--wandb_id", "x/y")),
}


@pytest.mark.parametrize("case", WANDB)
def test_what_wandb_does_not_take_is_refused_before_anything_is_written(
    root, refused, tmp_path, monkeypatch, case
):
    pytest.importorskip("wandb")
    environment, flags = WANDB[case]
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    said = refused(Trainer, *trainer_flags(root, "--wandb", "--batch_size", 1, *flags))
    assert "--wandb: " in said.splitlines()[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere memory is no limit")
@pytest.mark.parametrize("kilobytes", [1_500_000, 3_500_000])
def test_too_little_memory_is_said_in_one_line(dance_root, tmp_path, kilobytes):
    """Less than the libraries take; and, on a CPU, less than a step takes beside them."""
    flags = f"--DR {dance_root} --save_root {tmp_path / 'run'} {TINY} --num_epoch 1"
    line = f"ulimit -v {kilobytes}; exec {sys.executable} Trainer.py {flags}"
    done = subprocess.run(
        ["sh", "-c", line],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    if kilobytes > 2_000_000 and done.returncode == 0:
        pytest.skip("these libraries are content with that")
    assert done.returncode == 2, done.stderr
    assert "memory" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
