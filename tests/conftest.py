"""What the tests share: a tiny synthetic dataset, settings of tiny widths, a cache of their own."""

import multiprocessing
import os
import shutil
import signal
import subprocess
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

import dataloader
import Trainer
from demo.dance import make_dataset
from settings.flags import tester_parser
from settings.resolve import make_settings
from tests.support.hostile import SMALL, call, contents, write_small_dataset

dataloader.test_clips.__test__ = False  # a function of the project, not a test to collect
torch.set_num_threads(1)  # on tensors this small, threads mostly wait for each other
# A shell has what it starts in the background ignore it, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

TINY_WIDTHS = {"F_dim": 8, "L_dim": 2, "N_dim": 4, "D_out_dim": 8}


def pytest_xdist_auto_num_workers() -> int:
    """One more than cores: tests of whole scripts often wait."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files first that take minutes: begun last, one of them would be waited for alone."""
    items.sort(key=lambda item: item.path.parent.name not in ("scripts", "reliability", "player"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch) -> Path:
    """Give every test, and the processes it starts, an empty cache folder."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture(autouse=True)
def no_process_outlives_its_test(monkeypatch) -> Iterator[None]:
    """Kill what a test that failed has left running; what that has started ends with it."""
    started, begin, before = [], subprocess.Popen.__init__, set(multiprocessing.active_children())

    def noted(self, *arguments, **named):
        begin(self, *arguments, **named)
        started.append(self)

    monkeypatch.setattr(subprocess.Popen, "__init__", noted)
    yield
    left = {process for process in started if "wandb" not in str(process.args)}  # it keeps one
    for process in {*multiprocessing.active_children(), *left} - before:
        process.kill()


@pytest.fixture(scope="session")
def dance_root(tmp_path_factory) -> Path:
    """A synthetic dataset: 60 training frames, 14 to validate on, two test sequences of 14."""
    root = tmp_path_factory.mktemp("synthetic") / "dance"
    make_dataset(root, train_frames=60, val_frames=14, test_sequences=2, sequence_length=14)
    return root


@pytest.fixture
def settings() -> Callable[..., Namespace]:
    """`settings(flag=value, …)`: every flag of both scripts, tiny widths, fp32 on the CPU."""

    def make(**flags) -> Namespace:
        places = {"device": "cpu", "precision": "fp32", "num_workers": 1}
        parser = tester_parser()
        assert flags.keys() <= parser.scopes.keys(), "a name that no flag has"
        return make_settings(parser, TINY_WIDTHS | places | flags)

    return make


# --------------------------------------------------------------- to be spoiled


@pytest.fixture(scope="session")
def small_root(tmp_path_factory) -> Path:
    return write_small_dataset(tmp_path_factory.mktemp("small") / "data")


@pytest.fixture(scope="session")
def small_run(small_root, tmp_path_factory) -> Path:
    """The folder of a run of two epochs, of which `last-1.ckpt` stopped in the second."""
    folder = tmp_path_factory.mktemp("small") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        flags = (
            "--prediction_buffer",
            "--save_every_minutes",
            "1e-9",
            "--num_epoch",
            "2",
            "--batch_size",
            "1",
        )
        code, said = call(Trainer, "--DR", small_root, "--save_root", folder, *SMALL, *flags)
    assert code == 0, said
    return folder


@pytest.fixture
def root(small_root, tmp_path) -> Path:
    """A copy of the small dataset."""
    return Path(shutil.copytree(small_root, tmp_path / "data"))


@pytest.fixture
def ours(small_run, tmp_path) -> Path:
    """A copy of a checkpoint from the middle of an epoch."""
    return Path(shutil.copy(small_run / "last-1.ckpt", tmp_path / "ours.ckpt"))


@pytest.fixture
def refused(tmp_path, own_cache) -> Callable[..., str]:
    """`refused(script, flag, …)` runs a script, which must refuse, and returns its message."""

    def check(script: ModuleType, *flags) -> str:
        before = contents(tmp_path)
        code, said = call(script, *map(str, flags))
        assert code == 2, said
        assert "Traceback" not in said
        assert said.splitlines()[-1].startswith(("error: ", f"{script.__name__}.py: error: "))
        lock = str(tmp_path / "out/.lock")
        after = {k: v for k, v in contents(tmp_path).items() if k != lock or k in before}
        assert after == before, "something was written"
        assert not list(own_cache.rglob("*.tmp"))
        return said

    return check


# ------------------------------------------------------------------- a browser


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, driven by Playwright; tests are skipped where one of them is missing."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    if chromium is None:
        pytest.skip("no chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        sandbox = ["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium, args=sandbox)
        yield browser
        browser.close()
