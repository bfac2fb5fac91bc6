"""Whatever lies in the files and stands on the command line: it works, or it is refused.

Refused is exit code 2 without a traceback. Any other exception, a hang, or a write outside the
run and cache folders fails. The long form: `python -m pytest -m slow tests/scripts/test_fuzz.py`.
"""

import copy
import io
import os
import shutil
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import Tester
import Trainer
from settings.flags import tester_parser, trainer_parser
from tests.support.data_sets import decoded_frames
from tests.support.hostile import SMALL, call, contents, writing_only_in
from tests.support.mutations import change, mutations, plant, plants, stems, suffixes, values

QUICK = [*SMALL, "--batch_size", "1", "--num_epoch", "1"]


def forms(short: int, long: int):
    """Run a test with a few examples, the same each time, and in the long form with many."""
    slow = pytest.param(long, marks=pytest.mark.slow)
    return pytest.mark.parametrize("examples", [short, slow])


def explore(examples: int, check, *strategies) -> None:
    """Call `check` with that many draws."""
    wrapped = given(*strategies)(check)
    settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=examples < 100,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # what fails is small already, and shrinking takes minutes
    )(wrapped)()


class Place:
    """A folder with everything a script needs, put back as it was before every example."""

    def __init__(self, folder: Path, root: Path, run: Path):
        self.folder, self.pristine = folder, folder / "pristine"
        self.root, self.out, self.cache = (folder / name for name in ("data", "out", "cache"))
        self.elsewhere = folder / "elsewhere"
        self.outcomes: Counter = Counter()
        shutil.copytree(root, self.pristine / "data")
        shutil.copytree(run, self.pristine / "run")
        self.elsewhere.mkdir()
        shutil.copy(root / "val/val_img/0.png", self.elsewhere / "0.png")
        (self.elsewhere / "precious").write_text("precious")

    def fresh(self, *, run: bool = False) -> None:
        for name in (self.root, self.out, self.cache):
            shutil.rmtree(name, ignore_errors=True)
        shutil.copytree(self.pristine / "data", self.root)
        if run:
            shutil.copytree(self.pristine / "run", self.out)

    def call(self, script, *flags) -> None:
        """Run a script; assert that it works or refuses, and writes nowhere else."""
        before = self._untouchable()
        with writing_only_in(self.out, self.cache):
            code, said = call(script, *flags)
        assert code in (0, 2), said
        assert "Traceback" not in said, said
        assert code == 0 or "error: " in said.splitlines()[-1], said
        assert self._untouchable() == before
        assert not list(self.out.rglob("*.tmp"))
        self.outcomes[code] += 1

    def _untouchable(self) -> dict:
        found = contents(self.root) | contents(self.elsewhere)
        files = (path for path in self.pristine.rglob("*") if path.is_file())
        return found | {str(path): path.stat().st_mtime_ns for path in files}

    def train(self, *flags) -> None:
        places = ("--DR", self.root, "--save_root", self.out, "--cache_dir", self.cache)
        self.call(Trainer, *places, *QUICK, *flags)

    def test(self, path: Path, *flags) -> None:
        # Without figures, which take half of the Tester's time.
        places = ("--DR", self.root, "--save_root", self.out / "results", "--no_report")
        self.call(Tester, *places, "--cache_dir", self.cache, "--ckpt_path", path, *flags)


@pytest.fixture
def place(small_root, small_run, tmp_path, monkeypatch):
    """Yields a `Place`; prints at the end how many examples worked and how many were refused."""
    made = Place(tmp_path, small_root, small_run)
    monkeypatch.chdir(made.elsewhere)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    yield made
    print(f"worked {made.outcomes[0]}, refused {made.outcomes[2]}")


# ----------------------------------------------------------------- dataset folders

FOLDERS = [
    *("train/train_img", "train/train_label", "val/val_img", "val/val_label"),
    *("test/test_img/0", "test/test_label/0", "test/test_gt/0", "test/test_label", "train", ""),
]


@forms(short=8, long=400)
def test_dataset_folders(place, examples):
    def check(changes, removed, trains, cuts):
        place.fresh()
        for folder, stem, suffix, what in changes:
            plant(place.root, folder, stem + suffix, what)
        for folder, number in removed:
            plant(place.root, folder, f"{number}.png", lambda path: None)
        if cuts is not None:
            plant(place.root, "train", "cuts.txt", lambda path: path.write_bytes(cuts))
        if trains:
            place.train()
        else:
            place.test(place.pristine / "run")

    change = st.tuples(st.sampled_from(FOLDERS), stems, suffixes, plants)
    gone = st.tuples(st.sampled_from(FOLDERS), st.integers(0, 11))
    lists = st.lists(change, max_size=3), st.lists(gone, max_size=2)
    cuts = (
        st.none() | st.binary(max_size=9) | st.text("0123456789\n -x", max_size=12).map(str.encode)
    )
    explore(examples, check, *lists, st.booleans(), cuts)


# --------------------------------------------------------------------- checkpoints


def repacked(data: bytes, mutate) -> bytes:
    """Mutate the pickle inside of a checkpoint and give the file checksums that fit."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            entry = old.read(name)
            new.writestr(name, mutate(entry) if name.endswith("data.pkl") else entry)
    return file.getvalue()


USES = ["test", "continue", "warm start", "validate", "resume"]


def use(place: Place, data: bytes, how: str) -> None:
    """Give a script the bytes as a checkpoint."""
    place.fresh(run=how == "resume")
    path = place.out / ("last.ckpt" if how == "resume" else "given.ckpt")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    if how == "test":
        place.test(path)
    elif how == "resume":
        place.train("--prediction_buffer", "--num_epoch", "3")
    else:
        flags = {
            "continue": ("--ckpt_path", path, "--num_epoch", "2"),
            "warm start": ("--warm_start", path),
            "validate": ("--test", "--ckpt_path", path),
        }[how]
        place.train(*flags)


@forms(short=12, long=500)
def test_checkpoint_bytes(place, examples):
    data = (place.pristine / "run/last-1.ckpt").read_bytes()

    def check(mutate, inside, how):
        use(place, repacked(data, mutate) if inside else mutate(data), how)

    explore(examples, check, mutations(), st.booleans(), st.sampled_from(USES))


@forms(short=10, long=350)
def test_checkpoint_contents(place, examples):
    whole = torch.load(place.pristine / "run/last-1.ckpt", weights_only=True)
    weights = whole["state_dict"]
    lab = {"state_dict": weights, "optimizer": weights, "lr": 1e-3, "tfr": 0.5, "last_epoch": 0}

    def check(of_lab, changes, how):
        content = copy.deepcopy(lab if of_lab else whole)
        for path, what, value in changes:
            change(content, path, what, value)
        file = io.BytesIO()
        try:
            torch.save(content, file)
        except (RuntimeError, RecursionError, NotImplementedError):
            return  # not to be written, so nobody reads it
        use(place, file.getvalue(), how)

    kinds = st.sampled_from(["set", "set", "drop", "add", "tensor", "itself"])
    paths = st.lists(st.integers(0, 2**16), min_size=1, max_size=4)
    changes = st.lists(st.tuples(paths, kinds, values), min_size=1, max_size=3)
    explore(examples, check, st.booleans() | st.just(False), changes, st.sampled_from(USES))


# ----------------------------------------------------------- tables, notes and caches


@forms(short=4, long=150)
def test_files_of_a_run_folder(place, examples):
    names = st.sampled_from(["metrics.csv", "settings.json", "last-1.ckpt", ".lock", "best.ckpt"])

    def check(name, mutate, what):
        place.fresh(run=True)
        file = place.out / name
        if what is None:
            file.write_bytes(mutate(file.read_bytes()))
        else:
            plant(place.out, "", name, what)
        place.train("--prediction_buffer", "--num_epoch", "3")

    explore(examples, check, names, mutations(), st.none() | plants)


@forms(short=40, long=2000)
def test_cache_files(place, examples):
    place.fresh()
    pictures = [place.root / f"val/val_img/{number}.png" for number in range(4)]
    true = decoded_frames(pictures, 12, 12, place.cache).copy()
    (file,) = place.cache.rglob("*.npy")
    data = file.read_bytes()

    def check(mutate, what):
        if what is None:
            file.write_bytes(mutate(data))
        else:
            plant(file.parent, "", file.name, what)
        with writing_only_in(place.cache):
            found = decoded_frames(pictures, 12, 12, place.cache)
        assert np.array_equal(found, true)
        if file.is_dir():
            shutil.rmtree(file)
        place.outcomes[0] += 1

    explore(examples, check, mutations(), st.none() | plants)


# ---------------------------------------------------------------------------- flags

SLOW = {"help", "wandb", "compile", "minutes", "num_epoch"}  # right, but for hours or elsewhere
NUMBERS = [
    *("-1", "0", "1", "2", "3", "8", "12", "13", "16", "0.5", "1e-9", "1e9", "1_0", "٣", " 5", ""),
    *("nan", "inf", "-inf", "1e400", "0x10", "five", "1000000000", "9" * 18, "9" * 400, "-0"),
]
PATHS = [".", "..", "/dev/null", "nowhere", "precious", "0.png", "x" * 300, "a\nb", "=1", "\udcff"]


def flag_of(action) -> st.SearchStrategy[list[str]]:
    """Draw a flag with a value, or with what is none."""
    name = st.sampled_from(action.option_strings)
    if action.nargs == 0:
        return name.map(lambda text: [text])
    value = st.sampled_from(NUMBERS) | st.text(max_size=5).map(lambda text: text.replace("\0", ""))
    if action.choices is not None:
        value = value | st.sampled_from([str(choice) for choice in action.choices])
    return st.tuples(name, value).map(list)


@forms(short=12, long=300)
def test_flags(place, examples):
    by_script = {Trainer: trainer_parser(), Tester: tester_parser()}
    reading = ["--DR", "--ckpt_path", "--warm_start", "--GT"]
    writing = ["--save_root", "--cache_dir"]

    def flags_of(parser):
        plain = [
            flag_of(action)
            for action in parser._actions
            if action.dest not in SLOW and not {*action.option_strings} & {*reading, *writing}
            if action.dest != "export_lab"
        ]
        read = st.tuples(st.sampled_from(reading), st.sampled_from(PATHS)).map(list)
        return st.lists(st.one_of(*plain, *plain, read), max_size=4)

    def check(script, flags, has_run, given_ckpt, output):
        place.fresh(run=has_run)
        words = [word for flag in flags for word in flag]
        words = [word.encode("utf-8", "surrogatepass").decode("utf-8", "replace") for word in words]
        if output is not None:
            words += [output[0], str(place.out / output[1])]
        if script is Tester:
            place.test(place.pristine / "run", *words)
            return
        ckpt = ["--ckpt_path", place.pristine / "run"] if given_ckpt else []
        place.train(*ckpt, "--minutes", "1e-5", *words)

    for script, parser in by_script.items():
        output = st.tuples(
            st.sampled_from(writing), st.sampled_from(["last.ckpt", "a", "b/c", "=1"])
        )
        explore(
            examples // 2,
            check,
            st.just(script),
            flags_of(parser),
            st.booleans(),
            st.booleans(),
            st.none() | output,
        )
