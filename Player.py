"""Play a model in the browser: `python Player.py --ckpt_path RUN [--DR ROOT]`. See `--help`."""

if __name__ == "__main__":
    import core.startup  # first of all: what follows takes seconds
import core.waiting  # noqa: F401, before torch

# isort: split

import argparse
import asyncio
import os
import webbrowser
from functools import partial

import torch

from core.errors import UserError, exit_on_user_error
from demo import starts as demo
from player import model as models
from player.arm import Reach
from player.hello import hello
from player.server import LOOPBACK, Server, listen
from player.starts import DanceStart, RobotStart, dance_starts, robot_starts
from player.worlds import DanceWorld, RobotWorld
from settings.flag_types import number
from settings.resolve import check_one_checkpoint

SHORTEST_TOKEN = 16  # characters


@exit_on_user_error
def main() -> None:
    flags = read_flags()
    token = token_of_environment()
    torch.set_num_threads(flags.threads)
    played = models.load(flags.ckpt_path, flags.device, flags.precision)
    world, starts = world_of(played, flags)
    server = Server(
        listen(flags.host, flags.port),
        world,
        hello(played, starts, own_data=bool(flags.DR)),
        token=token,
        most_sessions=flags.sessions,
    )

    def ready() -> None:
        print(f"{played.about}\n{server.address}\nCtrl-C ends", flush=True)
        if not flags.no_browser:
            webbrowser.open(server.address)

    asyncio.run(server.run(ready))


def world_of(played: models.PlayedModel, flags: argparse.Namespace) -> tuple[partial, list]:
    """Return what makes the world of a session, and its starts: of `--DR`, else the demo's."""
    settings = models.settings_for(played, flags.DR, flags.cache_dir) if flags.DR else None
    if played.kind == "dance":
        sequences = dance_starts(settings) if settings else []
        dances = demo.dances(played.height, played.width)
        starts = sequences or [DanceStart(name, frame, motion=rows) for name, frame, rows in dances]
        make_world = partial(DanceWorld, played, starts=starts)
        first = make_world()
        models.settle(played, first.known[0, 0], first.pose)
        return make_world, starts
    if settings:
        starts, reach = robot_starts(settings)
    else:
        starts = [RobotStart(*table) for table in demo.tables(played.n_past)]
        reach = Reach(*demo.reach())
    return partial(RobotWorld, played, starts=starts, reach=reach), starts


def read_flags(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--ckpt_path", required=True, help="a checkpoint, .safetensors, or the folder of a run")
    add("--DR", metavar="ROOT", help="data to start from (default: beginnings of the demo)")
    add("--host", default=LOOPBACK, help="address to listen on (default: this machine alone)")
    add("--port", type=number(int, 0, 65535), default=8765, help="0: any free one (default: 8765)")
    add("--sessions", type=number(int, 1, 64), default=4, help="pages at a time (default: 4)")
    add("--no_browser", action="store_true", help="print the address, and open nothing")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add(
        "--precision",
        choices=["auto", "fp32", "bf16"],
        default="fp32",
        help="of convolutions (default: fp32, whose frames are the Tester's bit for bit)",
    )
    add(
        "--threads",
        type=number(int, 1, 256),
        default=usual_threads(),
        help="of the model (default: half of the cores, 4 at most; the browser needs the others)",
    )
    add("--cache_dir", help="folder of decoded frames (default: the user's cache folder)")
    check_one_checkpoint(argv, "one is played; Tester.py takes several")
    return parser.parse_args(argv)


def usual_threads() -> int:
    """Return how many threads leave room for the browser: more only wait for each other."""
    return max(1, min(4, (os.cpu_count() or 1) // 2))


def token_of_environment() -> str | None:
    """Return PLAYER_TOKEN, with which a page finds its server again; None: a new one each time."""
    token = os.environ.get("PLAYER_TOKEN")
    if token is None:
        return None
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isalnum():
        raise UserError(
            f"PLAYER_TOKEN: needs {SHORTEST_TOKEN} letters and figures at least; unset it for a "
            "new token each time"
        )
    return token


if __name__ == "__main__":
    main()
