"""The server: who gets in, what it answers, and what sessions share."""

import asyncio
import contextlib
import re
import socket

import numpy as np
import pytest
from aiohttp import ClientSession, WSServerHandshakeError

from core.errors import UserError
from player import protocol, server, session
from player.server import FILES, listen
from tests.support.bad_messages import BAD
from tests.support.playing import TOKEN, opened, rate, serving, tiny


@pytest.fixture(scope="module")
def dancer():
    return tiny("dance")


@pytest.fixture(scope="module")
def running(dancer):
    with serving(dancer) as running:
        yield running


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 60))


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
