"""A small dataset to spoil, the scripts called here, and a watch over what they write."""

import contextlib
import io
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

WIDTHS = ["--F_dim", "8", "--L_dim", "2", "--N_dim", "4", "--D_out_dim", "8", "--device", "cpu"]
SMALL = [*WIDTHS, "--frame_H", "12", "--frame_W", "12", "--train_vi_len", "4", "--num_workers", "1"]
HANGS_AFTER = 60  # seconds

NO_FILES = {
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "a link to nowhere": lambda p: p.symlink_to("nowhere.png"),
    "a link to itself": lambda p: p.symlink_to(p),
    "a link to a device": lambda p: p.symlink_to("/dev/zero"),
    "a link to a terminal": lambda p: p.symlink_to("/dev/tty"),
    "a link to a folder": lambda p: p.symlink_to(p.parent),
}


def trainer_flags(root: Path, *flags) -> list:
    return ["--DR", root, "--save_root", root.parent / "out", *SMALL, *flags]


def rollout_flags(root: Path, path: Path, *flags) -> list:
    return ["--DR", root, "--save_root", root.parent / "out", "--ckpt_path", path, *flags]


def turned(data: bytes, places: range) -> bytes:
    return bytes(byte ^ 0x55 if n in places else byte for n, byte in enumerate(data))


def write_small_dataset(root: Path) -> Path:
    """Write 12 training frames, 4 to validate on and a test sequence of 6, of 16×16 noise."""
    rng = np.random.default_rng(0)
    for folder, frames in (
        *(("train/train_img", 12), ("train/train_label", 12), ("val/val_img", 4)),
        *(("val/val_label", 4), ("test/test_img/0", 1), ("test/test_label/0", 6)),
        ("test/test_gt/0", 6),
    ):
        (root / folder).mkdir(parents=True)
        for number in range(frames):
            pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{number}.png")
    (root / "train/cuts.txt").write_text("6\n")
    return root


def contents(folder: Path) -> dict[str, bytes | str]:
    """Return what lies in a folder by its path: bytes of files, ends of links, kinds of others."""
    found: dict[str, bytes | str] = {}
    for place, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(place, name)
            if path.is_symlink():
                found[str(path)] = f"-> {os.readlink(path)}"
            elif path.is_file():
                found[str(path)] = path.read_bytes()
            else:
                found[str(path)] = "folder" if path.is_dir() else "other"
    return found


class Hang(BaseException):
    """The script did not come to an end."""


def call(script: ModuleType, *flags: str | Path) -> tuple[int, str]:
    """Run the `main` of a script here; return its exit code and what it printed.

    Any exception but SystemExit comes through. Output goes through strict UTF-8, as it does in
    most terminals.
    """
    output = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    before = sys.argv, signal.getsignal(signal.SIGTERM)
    sys.argv = [f"{script.__name__}.py", *map(os.fsdecode, flags)]
    signal.signal(signal.SIGALRM, _hang)
    signal.alarm(HANGS_AFTER)
    code = 0
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            script.main()
    except SystemExit as ended:
        code = ended.code
    finally:
        signal.alarm(0)
        sys.argv = before[0]
        signal.signal(signal.SIGTERM, before[1])
    return code, output.buffer.getvalue().decode()


def _hang(*_) -> None:
    raise Hang


def run_here(script: ModuleType, monkeypatch, capsys, *flags) -> tuple[int, str, str]:
    """Run the `main` of a script here; return exit code, output and errors, never a traceback."""
    monkeypatch.setattr(sys, "argv", [script.__file__, *map(str, flags)])
    code = 0
    try:
        script.main()
    except SystemExit as ended:
        code = ended.code
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return code, said.out, said.err


# ----------------------------------------------------------------- who writes where

_allowed: list[Path] | None = None  # None: nobody watches
_trespasses: list[str] = []
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGING = {  # audit events, and which of their arguments are places that change
    "os.remove": [0],
    "os.rename": [0, 1],
    "os.mkdir": [0],
    "os.rmdir": [0],
    "os.link": [1],
    "os.symlink": [1],
    "os.truncate": [0],
    "os.chmod": [0],
}


@contextlib.contextmanager
def writing_only_in(*folders: Path) -> Iterator[None]:
    """Fail where anything in this process writes, moves or removes a file elsewhere."""
    global _allowed
    _allowed = [folder.resolve() for folder in folders] + [Path(os.devnull)]
    try:
        yield
    finally:
        _allowed = None
    found = _trespasses[:]
    _trespasses.clear()
    assert not found, found


def _watch(event: str, arguments: tuple) -> None:
    if _allowed is None:
        return
    places: list = []
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING:
        places = [arguments[0]]
    elif event in _CHANGING:
        places = [arguments[index] for index in _CHANGING[event]]
    for place in places:
        if isinstance(place, int) or place is None:
            continue
        path = Path(os.path.abspath(os.fsdecode(place)))
        path = path.parent.resolve() / path.name
        if event == "open" and not arguments[2] & os.O_EXCL:
            path = path.resolve()  # without O_EXCL opening follows a link
        if not any(path.is_relative_to(folder) for folder in _allowed):
            _trespasses.append(f"{event} {path}")


sys.addaudithook(_watch)
