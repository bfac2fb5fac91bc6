"""The marks of a preparation: a prepared folder is whole once every share of it is done.

The first mark is written before anything else and removed last, so that a folder whose
preparation was interrupted is refused and not read as a smaller data set. `copied.json` lists what
a preparation has copied besides the frames, so that it can remove what is gone at the source.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from core.errors import UserError
from core.files import atomic_write, parse_json, remove_leftovers
from data.store.remote import RemotePath, open_binary

UNFINISHED_FILE, COPIED_FILE = "unfinished.json", "copied.json"
BLOCK = 1 << 20  # bytes that are compared at once


def begin(out: Path, plan: dict, share: tuple[int, int]) -> None:
    """Mark a folder as unfinished. plan: what the shares have in common."""
    with atomic_write(out / UNFINISHED_FILE) as file:
        file.write(_text(plan, share[1]))
    _done_file(out, *share).unlink(missing_ok=True)
    for folder, _, _ in os.walk(out):
        remove_leftovers(Path(folder))


def finish(out: Path, plan: dict, share: tuple[int, int]) -> list[int]:
    """Note that a share is done; return which are missing. The last one removes the marks."""
    text = _text(plan, share[1])
    with atomic_write(_done_file(out, *share)) as file:
        file.write(text)
    done = [_done_file(out, number, share[1]) for number in range(share[1])]
    missing = [n for n, file in enumerate(done) if not file.exists() or file.read_bytes() != text]
    if not missing:
        for file in out.glob("done-*.json"):
            file.unlink(missing_ok=True)
        (out / UNFINISHED_FILE).unlink(missing_ok=True)
    return missing


def check_finished(root: Path | RemotePath) -> None:
    """Raise UserError for a folder whose preparation is under way, or was interrupted."""
    if (root / UNFINISHED_FILE).exists():
        raise UserError(
            f"--DR {root}: its preparation is not finished ({UNFINISHED_FILE} is there); the same "
            "python -m prepare, with every --shard of it, goes on with it"
        )


def _done_file(out: Path, share: int, shares: int) -> Path:
    return out / f"done-{share}-of-{shares}.json"


def _text(plan: dict, shares: int) -> bytes:
    return json.dumps(plan | {"shares": shares}).encode()


# ----------------------------------------------------------------------- what is copied


def files_below(
    folder: Path | RemotePath, name: str, above: tuple = ()
) -> Iterator[tuple[str, Path | RemotePath]]:
    """Yield every file in a folder with its name, `name` and what leads to it.

    Raises UserError for a link that leads back to a folder that it lies in.
    """
    place = folder.resolve()
    if place in above:
        raise UserError(f"{folder}: a link to a folder that it lies in; remove it")
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from files_below(entry, f"{name}/{entry.name}", (*above, place))
        else:
            yield f"{name}/{entry.name}", entry


def copy_files(files: dict[str, Path | RemotePath], out: Path) -> None:
    """Make `out` hold these files by name, and none that an earlier call has copied besides."""
    before = _copied(out)
    _note_copied(out, before | set(files))
    for name, source in files.items():
        if not _is_copy(source, out / name):
            with open_binary(source) as opened, atomic_write(out / name) as file:
                shutil.copyfileobj(opened, file)
    for name in sorted(before - set(files)):
        (out / name).unlink(missing_ok=True)
        remove_empty((out / name).parent, out)
    _note_copied(out, set(files))


def _copied(out: Path) -> set[str]:
    """Return the names of what was copied; without a list, as by earlier versions, the cuts."""
    try:
        names = parse_json((out / COPIED_FILE).read_bytes())
    except (OSError, ValueError):
        names = ["train/cuts.txt"]
    inside = (name for name in names if isinstance(name, str)) if isinstance(names, list) else ()
    return {
        name for name in inside if ".." not in Path(name).parts and not Path(name).is_absolute()
    }


def _note_copied(out: Path, names: set[str]) -> None:
    with atomic_write(out / COPIED_FILE) as file:
        file.write(json.dumps(sorted(names)).encode())


def _is_copy(source: Path | RemotePath, target: Path) -> bool:
    """Tell whether two files have the same content, which equal sizes do not say."""
    if not target.is_file() or target.stat().st_size != source.stat().st_size:
        return False
    with open_binary(source) as one, open_binary(target) as other:
        while block := one.read(BLOCK):
            if block != other.read(len(block)):
                return False
    return True


def remove_empty(folder: Path, out: Path) -> None:
    """Remove a folder and those above it, up to `out`, as far as nothing is in them."""
    while folder != out and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
