"""What every demo data set shares: all of it or nothing, made by several processes, by command."""

import argparse
import json
import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from core.files import whole_folder


class Refusal(ValueError):
    """A request that cannot be met; the message names the flag to change."""


def check_counts(arguments):
    """Raise Refusal for a number out of range."""
    for name, value in arguments.items():
        least = 0 if name in ("seed", "num_workers") else 1
        if value < least:
            raise Refusal(f"--{name} must be at least {least}, not {value}")


def make_whole(out, arguments, render):
    """Make the folder `out` by `render(folder)`, all of it or nothing.

    Returns False, with nothing made, where `out` already holds a set of these arguments. Raises
    Refusal where it holds anything else.
    """
    out = Path(out).absolute()
    if _already_made(out, arguments):
        return False
    with whole_folder(out) as partial:
        render(partial)
        (partial / "demo.json").write_text(json.dumps(arguments, indent=2) + "\n")
    return True


def parser_of(module, description):
    """The parser of `python -m MODULE`, with the flags of every data set."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("--out", type=Path, required=True, help="the folder to make")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other motions")
    workers = min(16, os.cpu_count() or 1)
    parser.add_argument("--num_workers", type=int, default=workers, help="processes that render")
    return parser


def make_as_asked(parser, make_dataset):
    """Make the data set that the command line asks for, and say so; refusals end with code 2."""
    arguments = vars(parser.parse_args())
    try:
        made = make_dataset(**arguments, progress=sys.stderr.isatty())
    except Refusal as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"--out {arguments['out']}: {error.strerror}")
    except KeyboardInterrupt:
        parser.exit(130, "stopped, nothing was kept\n")
    print(f"{arguments['out']}: {'made' if made else 'already holds the same, nothing to do'}")


def _already_made(out, arguments):
    """Whether `out` holds this very set; raises Refusal where it holds another thing."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        found = json.loads((out / "demo.json").read_text())
    except (OSError, ValueError):
        raise Refusal(f"--out {out} exists and is not a demo data set") from None
    if found != arguments:
        raise Refusal(f"--out {out} holds a demo data set of other arguments: {found}")
    return True


def in_processes(work, jobs, chunk, num_workers):
    """Yield `work` of `chunk` jobs at a time, in their order; 0 or 1: no process pool."""
    chunks = [jobs[start : start + chunk] for start in range(0, len(jobs), chunk)]
    if num_workers <= 1:
        yield from map(work, chunks)
        return
    pool = ProcessPoolExecutor(
        num_workers,
        # Spawned on every system: forking a process that runs threads (torch's) may hang.
        mp_context=get_context("spawn"),
        # Ctrl-C is for the parent, which then drops the chunks not begun.
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )
    with pool:
        try:
            yield from pool.map(work, chunks)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
