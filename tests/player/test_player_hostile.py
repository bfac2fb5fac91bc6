"""What hostile clients can do to the others: from a process of their own, as they would."""

import asyncio
import contextlib
import multiprocessing
import socket
import time
from typing import NamedTuple

import pytest
from aiohttp import ClientSession, WSServerHandshakeError

from player import server
from tests.support.bad_messages import BAD
from tests.support.hostile import writing_only_in
from tests.support.playing import opened, rate, serving, tiny

SECONDS = 6.0
LEFT = 0.5  # of the frames alone; the attackers work on a core as well


class Victim(NamedTuple):
    """Where a server listens: what its attackers know of it."""

    port: int
    address: str


@pytest.fixture(scope="module")
def dancer():
    return tiny("dance")


def test_twenty_hostile_clients_hurt_nobody_and_write_nothing(dancer, monkeypatch):
    """Wrong tokens and origins, malformed and huge messages, floods, half-open connections."""
    monkeypatch.setattr(server, "SILENCE", 1.0)

    async def go():
        with serving(dancer) as running, attackers(running) as told, writing_only_in():
            async with opened(running) as good:
                alone = await rate(good, 2.0)
                told.send("go")
                attacked = await rate(good, SECONDS - 1)
                tried = await asyncio.to_thread(told.recv)
                assert isinstance(tried, list), tried
                assert len(tried) == 20
                assert min(tried) > 0, "an attacker did not attack"
                print(f"{alone:.1f} frames/s alone, {attacked:.1f} attacked by {sum(tried)}")
                assert attacked > LEFT * alone, (alone, attacked)
                await asyncio.sleep(1.5)
                assert len(running.server.sessions) == 1
                await good.frame()

    asyncio.run(asyncio.wait_for(go(), 60))


@contextlib.contextmanager
def attackers(running):
    """A process of twenty attackers, and the end of a pipe: they begin when told to."""
    context = multiprocessing.get_context("forkserver")
    here, there = context.Pipe()
    victim = Victim(running.port, running.address)
    process = context.Process(target=attack_together, args=(victim, there), daemon=True)
    process.start()
    try:
        assert here.poll(30)
        assert here.recv() == "ready"
        yield here
    finally:
        process.kill()
        process.join()


def attack_together(victim: Victim, told) -> None:
    """Attack for SECONDS by twenty clients, and tell how often each tried, or what went wrong."""
    told.send("ready")
    told.recv()

    async def go() -> list[int]:
        ends = asyncio.get_running_loop().time() + SECONDS
        return await asyncio.gather(
            *(ATTACKS[number % len(ATTACKS)](victim, ends, number) for number in range(20))
        )

    try:
        told.send(asyncio.run(go()))
    except BaseException as error:
        told.send(repr(error))


async def wrong_door(running, ends, number):
    tried = 0
    async with ClientSession() as client:
        while asyncio.get_running_loop().time() < ends:
            url = f"http://127.0.0.1:{running.port}/{'x' * (number * 7 % 40 + 1)}/play"
            headers = {"Origin": f"http://127.0.0.1:{running.port}"}
            if number % 2:
                url, headers = f"{running.address}play", {"Origin": "http://evil.example"}
            try:
                async with client.ws_connect(url, headers=headers):
                    raise AssertionError("let in")
            except WSServerHandshakeError:
                tried += 1
            await asyncio.sleep(0.02)
    return tried


async def malformed(running, ends, number):
    texts, tried = list(BAD.values()), 0
    while asyncio.get_running_loop().time() < ends:
        try:
            async with opened(running) as page:
                await page.socket.send_str(texts[(number + tried) % len(texts)])
                assert (await page.closed())[0] in (1008, 1013, 1009)
        except (ConnectionError, WSServerHandshakeError):
            pass
        tried += 1
        await asyncio.sleep(0.05)
    return tried


async def huge(running, ends, number):
    tried = 0
    while asyncio.get_running_loop().time() < ends:
        try:
            async with opened(running) as page:
                await page.socket.send_str("x" * 2_000_000)
                await page.closed()
        except (OSError, WSServerHandshakeError):
            pass
        tried += 1
        await asyncio.sleep(0.1)
    return tried


async def flood(running, ends, number):
    tried = 0
    while asyncio.get_running_loop().time() < ends:
        try:
            async with opened(running) as page:
                for k in range(2000):
                    await page.do("drag", joint="nose", x=0.5, y=0.5, n=k)
                    tried += 1
                code, _ = await page.closed()
                assert code in (1008, 1013)
        except (OSError, WSServerHandshakeError):
            pass
        await asyncio.sleep(0.2)
    return tried


async def half_open(running, ends, number):
    """Connections that begin a request, or a session, and then say nothing."""
    writers, tried = [], 0
    while asyncio.get_running_loop().time() < ends:
        _, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write([b"", b"GET / HT", b"\0" * 50, b"GET /x/ HTTP/1.1\r\nHost:"][tried % 4])
        writers.append(writer)
        tried += 1
        await asyncio.sleep(0.2)
    for writer in writers:
        writer.close()
    return tried


ATTACKS = [wrong_door, malformed, huge, flood, half_open]


@pytest.fixture(scope="module")
def running(dancer):
    with serving(dancer) as running:
        yield running


def test_silent_connections_are_closed(running, monkeypatch):
    monkeypatch.setattr(server, "SILENCE", 0.5)
    with socket.create_connection(("127.0.0.1", running.port), 10) as connection:
        connection.sendall(b"GET /")
        connection.settimeout(5)
        began = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""
        assert time.monotonic() - began < 4


def test_too_many_connections_are_turned_away(running, monkeypatch):
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 5)
    connections = [socket.create_connection(("127.0.0.1", running.port), 10) for _ in range(12)]
    time.sleep(0.5)
    closed = 0
    for connection in connections:
        connection.settimeout(0.05)
        try:
            closed += connection.recv(1) == b""
        except TimeoutError:
            pass
        except ConnectionResetError:
            closed += 1
        connection.close()
    assert closed >= 6
