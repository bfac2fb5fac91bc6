"""A server of the player in this process, on a thread of its own, and pages that are no browser."""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from aiohttp import ClientSession, WSMsgType

from demo import starts as demo
from engine.checkpoints.checkpoint import DEMO
from modules.svg import SVG, SVGConfig
from modules.vae import CVAE, CVAEConfig
from player import model as models
from player.arm import Reach
from player.hello import hello
from player.protocol import FRAME
from player.server import Server, listen
from player.starts import DanceStart, RobotStart
from player.worlds import DanceWorld, RobotWorld

PRETRAINED = Path(__file__).parents[2] / "pretrained"
TOKEN = "atokenofthetestsalone"


def tiny(kind: str) -> models.PlayedModel:
    """A model that has learned nothing and is quick."""
    torch.manual_seed(0)
    if kind == "dance":
        sizes = {"F_dim": 8, "L_dim": 2, "N_dim": 4, "D_out_dim": 8, "patch_size": 2}
        model = CVAE(CVAEConfig(**sizes))
        side = (model.config.frame_H, model.config.frame_W, 1)
    else:
        model = SVG(SVGConfig(g_dim=8, z_dim=4, rnn_size=8, vgg_width=2))
        side = (64, 64, 2)
    compute = models.choose_compute(torch.device("cpu"), "fp32", "off")
    compute.prepare(model.eval())
    return models.PlayedModel(kind, model, compute, {}, *side, "tiny", DEMO, Path("tiny.ckpt"))


def world_of(played: models.PlayedModel, starts: list | None = None):
    """Return what makes a world, and its starts: the demo's where none are given."""
    if played.kind == "dance":
        dances = demo.dances(played.height, played.width)
        starts = starts or [DanceStart(n, frame, motion=rows) for n, frame, rows in dances]
        return partial(DanceWorld, played, starts=starts), starts
    starts = starts or [RobotStart(*table) for table in demo.tables(played.n_past)]
    return partial(RobotWorld, played, starts=starts, reach=Reach(*demo.reach())), starts


class Running:
    """A server that runs on a thread until `stop`; `address` opens its page."""

    def __init__(self, played: models.PlayedModel, *, port: int = 0, starts=None, sessions=4):
        make_world, starts = world_of(played, starts)
        said = hello(played, starts, own_data=False)
        socket = listen("127.0.0.1", port)
        self.port = socket.getsockname()[1]
        self.server = Server(socket, make_world, said, token=TOKEN, most_sessions=sessions)
        self.address = self.server.address
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(20)

    def _run(self) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            self._task = asyncio.current_task()
            with contextlib.suppress(asyncio.CancelledError):
                await self.server.run(self._ready.set)

        asyncio.run(serve())

    def stop(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(20)
        assert not self._thread.is_alive()


@contextlib.contextmanager
def serving(played: models.PlayedModel, **options) -> Iterator[Running]:
    running = Running(played, **options)
    try:
        yield running
    finally:
        running.stop()


class Page:
    """A page without a browser: confirms every frame, and keeps what it is told."""

    def __init__(self, socket):
        self.socket, self.frames, self.told, self.files = socket, [], [], []
        self.confirming = True

    async def do(self, word: str, **fields) -> None:
        await self.socket.send_str(json.dumps({"do": word, **fields}))

    async def next(self, timeout: float = 10.0):
        """Take in one message: ("frame", header, overlay, pictures), JSON, a file, or a close."""
        message = await self.socket.receive(timeout)
        if message.type is WSMsgType.TEXT:
            self.told.append(json.loads(message.data))
            return self.told[-1]
        if message.type is not WSMsgType.BINARY:
            return message
        if message.data[0] == 2:
            self.files.append(message.data)
            return message.data
        frame = unpack(message.data)
        self.frames.append(frame)
        if self.confirming:
            await self.do("shown", frame=frame["number"])
        return frame

    async def until(self, what, timeout: float = 20.0):
        """Take messages in until `what(message)` is true; return that message."""
        async with asyncio.timeout(timeout):
            while True:
                message = await self.next(timeout)
                if isinstance(message, dict | bytes):
                    if what(message):
                        return message
                else:
                    raise ConnectionError(f"closed: {self.socket.close_code} {message.extra}")

    async def frame(self, **wanted):
        """Take messages in until a frame whose header is as wanted."""

        def is_it(message) -> bool:
            return (
                isinstance(message, dict)
                and "pictures" in message
                and all(message[k] == v for k, v in wanted.items())
            )

        return await self.until(is_it)

    async def closed(self, timeout: float = 20.0) -> tuple[int, str]:
        """Take messages in until the server closes; return its code and reason."""
        async with asyncio.timeout(timeout):
            while True:
                message = await self.next(timeout)
                if not isinstance(message, dict | bytes):
                    return self.socket.close_code, str(message.extra or "")


def unpack(data: bytes) -> dict:
    _, flags, P, H, W, number, applied, numbers, _, dropped = FRAME.unpack_from(data)
    overlay = np.frombuffer(data, np.float32, numbers, FRAME.size)
    pixels = np.frombuffer(data, np.uint8, offset=FRAME.size + 4 * numbers)
    return {
        "predicted": bool(flags & 1),
        "resting": bool(flags & 2),
        "number": number,
        "applied": applied,
        "dropped": dropped,
        "overlay": overlay,
        "pictures": pixels.reshape(P, H, W, 3),
    }


@contextlib.asynccontextmanager
async def opened(running: Running, **headers: str) -> AsyncIterator[Page]:
    """Open a page as a browser does."""
    headers = {"Origin": f"http://127.0.0.1:{running.port}"} | headers
    async with (
        ClientSession() as client,
        client.ws_connect(f"{running.address}play", headers=headers, max_msg_size=0) as socket,
    ):
        yield Page(socket)


async def rate(page, seconds: float) -> float:
    """Frames a second that a page gets."""
    began, before = time.monotonic(), len(page.frames)
    while time.monotonic() < began + seconds:
        await page.next()
    return (len(page.frames) - before) / (time.monotonic() - began)
