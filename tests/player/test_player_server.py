"""The server: who gets in, what a message may be, and what hostile clients can do to the others."""

import asyncio
import contextlib
import functools
import json
import re
import socket
import time

import numpy as np
import pytest
from aiohttp import ClientSession, WSServerHandshakeError
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UserError
from player import protocol, server, session
from player.protocol import SCHEMAS, Allowance, Refused, parse
from player.server import FILES, listen
from tests.support.hostile import writing_only_in
from tests.support.playing import TOKEN, opened, serving, tiny, world_of

ACTS = {
    "dance": [
        {"do": "drag", "joint": "wrist_left", "x": 0.5, "y": -0.2, "n": 7},
        {"do": "move", "name": "jump", "n": 1},
        {"do": "come", "by": -0.3, "n": 1},
        {"do": "play", "on": True},
        {"do": "latent", "z": "sample", "temperature": 0},
        {"do": "shown", "frame": 2**32 - 1},
    ],
    "robot": [
        {"do": "aim", "x": 1, "y": 0.0, "n": 0},
        {"do": "grip", "open": False, "n": 4},
        {"do": "save", "kind": "gif"},
    ],
}
BAD = {
    "not JSON": "{",
    "no object": "[]",
    "nothing": "",
    "no word": "{}",
    "an unknown word": '{"do": "exec"}',
    "a word of the class": '{"do": "__init__"}',
    "a word that is none": '{"do": ["play"]}',
    "a word of the arm": '{"do": "grip", "open": true, "n": 1}',
    "a field more": '{"do": "step", "path": "/etc/passwd"}',
    "a field less": '{"do": "play"}',
    "a number for a flag": '{"do": "play", "on": 1}',
    "a flag for a number": '{"do": "come", "by": true, "n": 1}',
    "not a number": '{"do": "come", "by": NaN, "n": 1}',
    "infinite": '{"do": "come", "by": 1e999, "n": 1}',
    "far away": '{"do": "drag", "joint": "nose", "x": 1e9, "y": 0, "n": 1}',
    "no such joint": '{"do": "drag", "joint": "../../etc", "x": 0, "y": 0, "n": 1}',
    "a joint that is a list": '{"do": "drag", "joint": [], "x": 0, "y": 0, "n": 1}',
    "a negative start": '{"do": "start", "start": -1}',
    "half a start": '{"do": "start", "start": 0.5}',
    "a huge number": '{"do": "start", "start": ' + "9" * 900 + "}",
    "deep": "[" * 1000,
    "a kind that is a path": '{"do": "save", "kind": "../gif"}',
    "no pace": '{"do": "pace", "fps": 0}',
    "null": '{"do": null}',
}


@pytest.fixture(scope="module")
def dancer():
    return tiny("dance")


@pytest.fixture(scope="module")
def running(dancer):
    with serving(dancer) as running:
        yield running


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 60))


# --------------------------------------------------------------------- messages


@pytest.mark.parametrize("kind", ACTS)
def test_good_messages_pass(kind):
    for message in ACTS[kind]:
        assert parse(json.dumps(message), kind) == message


@pytest.mark.parametrize("what", BAD)
def test_bad_messages_are_refused(what):
    with pytest.raises(Refused):
        parse(BAD[what], "dance")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inside: (
        st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=6), inside, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(SCHEMAS["dance"])), st.data())
def test_a_world_survives_every_message_that_passes(word, data):
    """Fields of right and wrong kinds: either refused, or done without an error."""
    likely = st.sampled_from([True, 0, 1, 0.5, "mean", "sample", "wave", "gif", "nose", "mid_hip"])
    fields = {name: data.draw(likely | anything) for name in SCHEMAS["dance"][word]}
    try:
        message = parse(json.dumps({"do": word, **fields}), "dance")
    except Refused:
        return
    assert set(message) == {"do", *fields}
    if word not in ("play", "step", "pace", "save", "shown"):
        world = _dance_world()
        world.act(message)
        world.look()


@functools.cache
def _dance_world():
    return world_of(tiny("dance"))[0]()


def test_the_allowance_is_so_many_a_second():
    now = [0.0]
    allowance = Allowance(lambda: now[0])
    for _ in range(protocol.AT_ONCE):
        allowance.take()
    with pytest.raises(Refused):
        allowance.take()
    now[0] = 1.0
    for _ in range(protocol.PER_SECOND):
        allowance.take()
    with pytest.raises(Refused):
        allowance.take()


@pytest.mark.parametrize("what", ["not JSON", "a field more", "a huge number", "far away"])
def test_a_bad_message_closes_its_session_with_a_reason(running, what):
    async def go():
        async with opened(running) as good, opened(running) as bad:
            await good.frame()
            await bad.socket.send_str(BAD[what])
            code, reason = await bad.closed()
            assert code == 1008
            assert reason.startswith("refused: ")
            before = good.frames[-1]["number"]
            await good.until(lambda m: isinstance(m, dict) and m.get("number", 0) > before + 5)

    run(go())


def test_bytes_and_large_messages_close_the_session(running):
    async def go():
        async with opened(running) as page:
            await page.socket.send_bytes(b"\1" * 10)
            assert (await page.closed())[0] == 1008
        async with opened(running) as page:
            await page.socket.send_str('{"do": "step"' + " " * 5000 + "}")
            assert (await page.closed())[0] == 1009

    run(go())


def test_pings_are_answered_and_counted(running):
    async def go():
        async with opened(running) as page:
            await page.socket.ping(b"there?")
            await page.frame(predicted=True)
            with contextlib.suppress(ConnectionError):
                for _ in range(3 * protocol.AT_ONCE):
                    await page.socket.ping()
            assert (await page.closed())[0] == 1008

    run(go())


def test_a_page_that_does_not_answer_is_let_go(dancer, monkeypatch):
    """A half-open session: its heartbeat is not answered, and its place is free again."""
    monkeypatch.setattr(server, "HEARTBEAT", 0.5)

    async def go():
        with serving(dancer, sessions=1) as running:
            headers = {"Origin": f"http://127.0.0.1:{running.port}"}
            async with (
                ClientSession() as client,
                client.ws_connect(f"{running.address}play", headers=headers, autoping=False),
            ):
                for _ in range(60):
                    await asyncio.sleep(0.1)
                    if not running.server.sessions:
                        break
                assert not running.server.sessions
            async with opened(running) as page:
                assert await rate(page, 1.5) > 1  # who answers stays

    run(go())


# ------------------------------------------------------------------ who gets in


def test_the_page_comes_with_a_policy_and_from_here_alone(running):
    async def go():
        async with ClientSession() as client:
            for name in FILES:
                async with client.get(running.address + name) as answer:
                    assert answer.status == 200
                    text = await answer.text()
                    assert TOKEN not in text
                    for address in re.findall(r"https?://[^\s\"')]+", text):
                        assert address.startswith("http://www.w3.org/"), address  # a namespace
                    policy = answer.headers["Content-Security-Policy"]
                    assert "default-src 'none'" in policy
                    assert "unsafe" not in policy
                    assert answer.headers["X-Content-Type-Options"] == "nosniff"
                    assert answer.headers["Cache-Control"] == "no-store"
                    assert answer.headers["Referrer-Policy"] == "no-referrer"

    run(go())


@pytest.mark.parametrize(
    "path",
    [
        "/", "/play", f"/{TOKEN}", f"/{TOKEN[:-1]}/", f"/{TOKEN}x/", "//", "/favicon.ico",
        f"/{TOKEN}/../{TOKEN}/page.py", f"/{TOKEN}/index.html", f"/{TOKEN}/%2e%2e/server.py",
        f"/{TOKEN}/..%2fserver.py", f"/{TOKEN}/page.css%00", f"/{TOKEN}/page.js/", "/%00/",
        "/wrong/page.js",
    ],
)  # fmt: skip
def test_nothing_else_is_there(running, path):
    status, body = raw(running, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert status in (400, 403, 404)
    assert TOKEN not in body


def test_a_bad_request_is_not_told(running, capfd):
    status, _ = raw(running, f"GET /{TOKEN}/ HTTP.9\r\nHost: localhost\r\n\r\n")
    assert status == 400
    said = capfd.readouterr()
    assert said.out + said.err == ""


def raw(running, request: str) -> tuple[int, str]:
    """Send bytes as they are and return status and the whole answer."""
    with socket.create_connection(("127.0.0.1", running.port), 10) as connection:
        connection.sendall(request.encode("latin-1"))
        answer = b""
        connection.settimeout(10)
        while part := connection.recv(4096):
            answer += part
            if b"\r\n\r\n" in answer and b"Connection: close" in answer and len(part) < 4096:
                break
    text = answer.decode("latin-1")
    return int(text.split()[1]), text


HOSTS = {
    "127.0.0.1:{port}": True,
    "localhost:{port}": True,
    "LOCALHOST": True,
    "127.0.0.1:9000": True,  # as seen through a tunnel
    "[::1]:{port}": True,
    "evil.example:{port}": False,  # DNS rebinding: their name, our address
    "localhost.evil.example": False,
    "127.0.0.1.evil.example": False,
    "192.168.1.7": False,
    "8.8.8.8": False,
    "": False,
    "localhost@evil.example": False,
    "localhost;script-src *": False,
}


@pytest.mark.parametrize("host", HOSTS)
def test_only_a_name_of_this_machine_is_answered(running, host):
    named = host.format(port=running.port)
    request = f"GET /{TOKEN}/ HTTP/1.1\r\nHost: {named}\r\nConnection: close\r\n\r\n"
    status, _ = raw(running, request)
    assert (status == 200) == HOSTS[host]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1:{port}"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://evil.example", "Host": "evil.example"},
        {"Origin": ""},
    ],
)
def test_a_page_of_another_site_gets_no_session(running, headers):
    headers = {name: value.format(port=running.port) for name, value in headers.items()}

    async def go():
        with pytest.raises(WSServerHandshakeError) as refused:
            async with opened(running, **headers):
                pass
        assert refused.value.status == 403
        async with ClientSession() as client:  # and none without an Origin
            with pytest.raises(WSServerHandshakeError):
                async with client.ws_connect(f"{running.address}play"):
                    pass

    run(go())


# --------------------------------------------------------------------- sessions


def test_sessions_are_counted_freed_and_share_nothing(dancer):
    async def go():
        with serving(dancer, sessions=2) as running:
            async with opened(running) as first, opened(running) as second:
                await first.do("play", on=False)
                await second.do("drag", joint="wrist_left", x=0.9, y=0.1, n=1)
                await second.frame(applied=1)
                await first.do("step")
                shown = await first.frame(predicted=True)
                assert shown["applied"] == 0
                async with opened(running) as third:
                    code, reason = await third.closed()
                    assert code == 1013
                    assert "--sessions" in reason
            for _ in range(100):
                if not running.server.sessions:
                    break
                await asyncio.sleep(0.05)
            assert not running.server.sessions
            async with opened(running) as again:
                await again.frame()

    run(go())


def test_a_slow_page_misses_frames_and_is_not_behind(dancer):
    async def go():
        with serving(dancer) as running:
            async with opened(running) as page:
                page.confirming = False
                await page.do("pace", fps=60)
                await page.frame(number=0)
                await asyncio.sleep(3)
                frame = await page.frame(predicted=True)
                early = frame["number"]
                await page.do("shown", frame=frame["number"])
                later = await page.frame()
                assert later["number"] > early + 20, "frames were kept for it"
                assert later["dropped"] > 20

    run(go())


def test_nothing_is_computed_for_a_page_that_gives_no_sign(dancer, monkeypatch):
    monkeypatch.setattr(session, "PATIENCE", 0.4)

    async def go():
        with serving(dancer) as running:
            async with opened(running) as page:
                page.confirming = False
                await page.do("pace", fps=50)
                await asyncio.sleep(2)
                while True:
                    try:
                        frame = await page.next(0.5)
                    except TimeoutError:
                        break
                page.confirming = True
                await page.do("shown", frame=page.frames[-1]["number"])
                frame = await page.frame()
                assert frame["number"] < 60, "it played on for nobody"

    run(go())


def test_a_pause_shows_the_pose_and_a_step_is_one_frame(running):
    async def go():
        async with opened(running) as page:
            await page.do("play", on=False)
            await page.until(lambda m: isinstance(m, dict) and m.get("playing") is False)
            await page.do("drag", joint="wrist_right", x=0.2, y=0.2, n=5)
            shown = await page.frame(applied=5)
            assert not shown["predicted"]
            number = shown["number"]
            await page.do("drop")
            await page.do("step")
            assert (await page.frame(predicted=True, number=number + 1))["applied"] == 5
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(page.frame(predicted=True, number=number + 2), 0.5)

    run(go())


def test_the_server_takes_its_leave(dancer):
    async def go():
        with serving(dancer) as running:
            async with opened(running) as page:
                await page.frame()
                running.stop()
                code, _ = await page.closed()
                assert code == 1001

    run(go())


# ---------------------------------------------------------------------- hostile


def test_twenty_hostile_clients_hurt_nobody_and_write_nothing(dancer, monkeypatch):
    """Wrong tokens and origins, malformed and huge messages, floods, half-open connections."""
    monkeypatch.setattr(server, "SILENCE", 1.0)
    seconds = 6.0

    async def go():
        with serving(dancer) as running, writing_only_in():
            async with opened(running) as good:
                alone = await rate(good, 2.0)
                ends = asyncio.get_running_loop().time() + seconds
                attackers = [
                    asyncio.create_task(attack(running, ends, number))
                    for number in range(20)
                    for attack in [ATTACKS[number % len(ATTACKS)]]
                ]
                attacked = await rate(good, seconds - 1)
                tried = await asyncio.gather(*attackers)
                assert min(tried) > 0, "an attacker did not attack"
                print(f"{alone:.1f} frames/s alone, {attacked:.1f} attacked by {sum(tried)}")
                # The twenty do their own work in this very process: what they burn counts as well.
                assert attacked > 0.25 * alone, (alone, attacked)
                await asyncio.sleep(1.5)
                assert len(running.server.sessions) == 1
                await good.frame()

    run(go())


async def rate(page, seconds: float) -> float:
    """Frames a second that a page gets."""
    began, before = time.monotonic(), len(page.frames)
    while time.monotonic() < began + seconds:
        await page.next()
    return (len(page.frames) - before) / (time.monotonic() - began)


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


def test_a_port_in_use_is_told(running):
    with pytest.raises(UserError, match="in use"):
        listen("127.0.0.1", running.port)
    with pytest.raises(UserError, match="--host"):
        listen("203.0.113.1", 0)


def test_frames_travel_as_bytes(running):
    async def go():
        async with opened(running) as page:
            frame = await page.frame(predicted=True)
            assert frame["pictures"].shape == (2, 32, 64, 3)
            assert frame["overlay"].shape == (50,)
            assert np.isfinite(frame["overlay"]).all()
            assert page.told[0]["is"] == "hello"

    run(go())
