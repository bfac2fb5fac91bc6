"""One open page: its world, the pace at which it plays, and what is sent to it.

The world is stepped in the inference thread, which all sessions share in turn, and is never more
than one frame ahead of what was handed to the browser's connection: a browser that is slow gets
the newest frame and misses those between.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from aiohttp import WSMsgType, web

from player.protocol import FASTEST, Allowance, Refused, pack_file, pack_frame, parse
from player.worlds import Shown, World

UNSEEN = 2  # frames on their way to a page that it has not yet confirmed
PATIENCE = 5.0  # seconds without a sign of the page until its world stands still
DEFAULT_FPS = {"dance": 30.0, "robot": 15.0}
LARGEST_INBOX = 512  # messages between two frames; the allowance lets fewer through


class Session:
    """Plays a world for one page until it closes or is refused."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        make_world: Callable[[], World],
        inference: Executor,
        encoding: Executor,
        hello: dict[str, Any],
    ):
        self.socket, self.make_world = socket, make_world
        self.inference, self.encoding = inference, encoding
        self.hello = hello
        self.kind: str = hello["kind"]
        self.fps = DEFAULT_FPS[self.kind]
        self.playing = True
        self.inbox: list[dict] = []
        self.steps_asked = 0
        self.wake = asyncio.Event()  # something to do for a world that stands still
        self.newest: bytes | None = None  # the frame to send next
        self.to_send = asyncio.Event()
        self.on_the_way: list[int] = []  # frames sent and not confirmed
        self.dropped = 0
        self.sign_of_life = time.monotonic()
        self.saving: asyncio.Task | None = None

    async def run(self) -> None:
        """Serve the page until one of its tasks ends. Raises what ended it."""
        loop = asyncio.get_running_loop()
        self.world = await loop.run_in_executor(self.inference, self.make_world)
        await self.socket.send_json({"is": "hello", **self.hello})
        await self._tell_state()
        tasks = [asyncio.create_task(t) for t in (self._receive(), self._play(), self._send())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (*tasks, *filter(None, [self.saving])):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task

    # -------------------------------------------------------------------- receive

    async def _receive(self) -> None:
        allowance = Allowance()
        async for message in self.socket:
            allowance.take()
            if message.type is WSMsgType.PING:
                await self.socket.pong(message.data)
                continue
            if message.type is WSMsgType.PONG:
                continue
            if message.type is not WSMsgType.TEXT:
                raise Refused("a message that is not text")
            self.sign_of_life = time.monotonic()
            await self._obey(parse(message.data, self.kind))

    async def _obey(self, message: dict) -> None:
        word = message["do"]
        if word == "shown":
            if message["frame"] in self.on_the_way:
                del self.on_the_way[: self.on_the_way.index(message["frame"]) + 1]
                self.to_send.set()
        elif word == "play":
            self.playing = message["on"]
            await self._tell_state()
        elif word == "step":
            self.playing, self.steps_asked = False, min(self.steps_asked + 1, 30)
            await self._tell_state()
        elif word == "pace":
            self.fps = message["fps"]
            await self._tell_state()
        elif word == "save":
            self._save(message["kind"])
        elif len(self.inbox) < LARGEST_INBOX:
            self.inbox.append(message)
        self.wake.set()

    def _save(self, kind: str) -> None:
        """Encode the recording beside the playing; one file at a time."""
        if self.saving is None or self.saving.done():
            self.saving = asyncio.create_task(self._encode(kind))

    async def _encode(self, kind: str) -> None:
        recording = self.world.recording
        if recording is None or recording.running:
            return
        loop = asyncio.get_running_loop()
        fps = min(self.fps, 60.0)
        content = await loop.run_in_executor(self.encoding, recording.encode, kind, fps)
        await self.socket.send_bytes(pack_file(kind, content))

    # ----------------------------------------------------------------------- play

    async def _play(self) -> None:
        due = time.monotonic()
        await self._work(self._look)
        while True:
            if not self._is_live():
                await self._stand_still()
                due = time.monotonic()
                continue
            now = time.monotonic()
            if self.fps < FASTEST and due > now:
                await asyncio.sleep(due - now)
            # Who is late does not hurry: frames in between are not made up for.
            due = max(due + 1 / self.fps, time.monotonic() - 0.5 / self.fps)
            await self._work(self._step)
            if self.fps >= FASTEST:
                await asyncio.sleep(0)

    def _is_live(self) -> bool:
        return self.playing and time.monotonic() - self.sign_of_life < PATIENCE

    async def _stand_still(self) -> None:
        """Wait for something to do while paused, or while nobody looks, and do it."""
        self.wake.clear()
        if not (self.steps_asked or self.inbox):
            with contextlib.suppress(TimeoutError):
                # A joint that is held is followed, by walking too, while paused.
                await asyncio.wait_for(self.wake.wait(), 1 / 30 if self._is_held() else PATIENCE)
        if self.steps_asked:
            self.steps_asked -= 1
            await self._work(self._step)
        elif self.inbox or (self._is_held() and not self.playing):
            await self._work(self._look)

    def _is_held(self) -> bool:
        body = getattr(self.world, "body", None)
        return body is not None and body.held is not None

    async def _work(self, work: Callable[[list[dict]], Shown]) -> None:
        """Do a step, or a look, in the inference thread, and offer what it shows."""
        inbox, self.inbox = self.inbox, []
        loop = asyncio.get_running_loop()
        began = time.perf_counter()
        shown = await loop.run_in_executor(self.inference, work, inbox)
        if self.newest is not None:
            self.dropped += 1
        milliseconds = 1000 * (time.perf_counter() - began)
        self.newest = pack_frame(shown, milliseconds, self.dropped)
        self.newest_number = shown.number
        self.to_send.set()
        if self._told != self._state():
            await self._tell_state()

    def _step(self, inbox: list[dict]) -> Shown:
        for message in inbox:
            self.world.act(message)
        return self.world.step()

    def _look(self, inbox: list[dict]) -> Shown:
        for message in inbox:
            self.world.act(message)
        self.world.follow_hand()
        return self.world.look()

    # ----------------------------------------------------------------------- send

    async def _send(self) -> None:
        while True:
            await self.to_send.wait()
            self.to_send.clear()
            if self.newest is None or len(self.on_the_way) >= UNSEEN:
                continue
            frame, self.newest = self.newest, None
            self.on_the_way.append(self.newest_number)
            await self.socket.send_bytes(frame)

    def _recorded(self) -> tuple[int, bool]:
        recording = self.world.recording
        return (len(recording), recording.running) if recording else (0, False)

    def _state(self) -> dict[str, Any]:
        recorded, recording = self._recorded()
        latent = self.world.latent
        return {
            "playing": self.playing,
            "fps": self.fps,
            "z": latent.z,
            "temperature": latent.temperature,
            "start": self.world.starts.index(self.world.start),
            "recording": recording,
            "recorded": 0 if recording else recorded,
        }

    async def _tell_state(self) -> None:
        self._told = self._state()
        await self.socket.send_json({"is": "state", **self._told})
