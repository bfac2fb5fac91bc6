"""The server of the page: files of one folder, one WebSocket, and nobody else's business.

The address holds a token, without which there is nothing to be had. Host and Origin are looked at
before anything is answered: a page of another site that reaches this machine, by its own name or
by one that it made point here, is refused. No path is ever made of what a request says.
"""

import asyncio
import contextlib
import errno
import hmac
import ipaddress
import logging
import re
import secrets
import socket as sockets
import sys
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from typing import Any

from aiohttp import WSCloseCode, web

from core.errors import UserError
from player.protocol import LARGEST_MESSAGE, Refused
from player.session import Session
from player.worlds import World

LOOPBACK = "127.0.0.1"
MOST_CONNECTIONS = 64  # open at a time, of everybody
SILENCE = 5.0  # seconds in which a connection must have asked for something
HEARTBEAT = 10.0  # seconds between signs of life of a page's connection
FILES = {
    "": ("index.html", "text/html"),
    "page.css": ("page.css", "text/css"),
    "page.js": ("page.js", "text/javascript"),
    "memory.js": ("memory.js", "text/javascript"),
    "steer.js": ("steer.js", "text/javascript"),
}
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
QUIET = logging.getLogger("player.requests")  # a bad request would tell the token, at length
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?")


class Server:
    """Serves worlds to pages, `most_sessions` at a time, on a socket that is bound already."""

    def __init__(
        self,
        socket: sockets.socket,
        make_world: Callable[[], World],
        hello: dict[str, Any],
        *,
        token: str | None = None,
        most_sessions: int = 4,
    ):
        self.socket, self.make_world, self.hello = socket, make_world, hello
        self.token = token or secrets.token_urlsafe(24)
        self.most_sessions = most_sessions
        self.sessions: set[web.WebSocketResponse] = set()
        self.inference = ThreadPoolExecutor(1, "inference")
        self.encoding = ThreadPoolExecutor(1, "encoding")
        self._spoken: weakref.WeakSet = weakref.WeakSet()  # transports that asked for something
        # Read once: a request can then touch no file.
        folder = resources.files("player").joinpath("page")
        self._files = {
            name: (folder.joinpath(file).read_bytes(), kind) for name, (file, kind) in FILES.items()
        }
        host, port = socket.getsockname()[:2]
        self._names = {"localhost"} if _is_loopback(host) else {"localhost", _own_name()}
        shown = f"[{host}]" if ":" in host else host
        self.address = f"http://{shown}:{port}/{self.token}/"

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until cancelled; every session is told, and closed."""
        app = web.Application(client_max_size=1024, middlewares=[self._guard])
        app.router.add_get("/{token}/", self._file)
        app.router.add_get("/{token}/play", self._session)
        app.router.add_get("/{token}/{name:[a-z]+[.][a-z]+}", self._file)
        runner = web.AppRunner(
            app,
            access_log=None,
            logger=QUIET,
            keepalive_timeout=SILENCE,
            max_line_size=1024,
            max_field_size=4096,
            shutdown_timeout=1,
        )
        await runner.setup()
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(lambda: self._watched(runner.server), sock=self.socket)
        try:
            ready()
            await asyncio.Event().wait()
        finally:
            listening.close()
            for session in list(self.sessions):
                with contextlib.suppress(Exception):
                    await session.close(code=WSCloseCode.GOING_AWAY, message=b"the server ends")
            await runner.cleanup()
            self.inference.shutdown(wait=False, cancel_futures=True)
            self.encoding.shutdown(wait=False, cancel_futures=True)

    # --------------------------------------------------------------------- at the door

    def _watched(self, server: web.Server):
        """Have a connection closed where it keeps silent, or where there are too many."""
        loop, protocol = asyncio.get_running_loop(), server()

        def close_if_silent() -> None:
            transport = protocol.transport
            if transport is not None and transport not in self._spoken:
                transport.abort()

        loop.call_later(SILENCE, close_if_silent)
        loop.call_later(0.01, self._make_room, server)  # once it is connected
        return protocol

    def _make_room(self, server: web.Server) -> None:
        """Close what is too much: who has kept silent longest, else who came last."""
        transports = [protocol.transport for protocol in server.connections]
        transports = [x for x in transports if x is not None and not x.is_closing()]
        silent = [x for x in transports if x not in self._spoken]
        too_many = max(0, len(transports) - MOST_CONNECTIONS)
        for transport in (silent or transports[::-1])[:too_many]:
            transport.abort()

    @web.middleware
    async def _guard(self, request: web.Request, handler) -> web.StreamResponse:
        """Refuse what does not come from a page of ours; add the headers that keep it to itself."""
        self._spoken.add(request.transport)
        host = request.headers.get("Host", "")
        if not self._is_ours(host):
            return self._refusal(403, "this name is not the server's")
        origin = request.headers.get("Origin")
        if origin is not None and origin != f"http://{host}":
            return self._refusal(403, "a page of another site")
        given = request.match_info.get("token", "")
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            return self._refusal(404, "nothing here; the address is the one that Player.py printed")
        try:
            response = await handler(request)
        except web.HTTPException as error:
            return self._refusal(error.status, error.reason)
        return response

    def _is_ours(self, host: str) -> bool:
        """Tell whether a browser that sends this Host was sent to this server by its address.

        A site that makes its own name point here (DNS rebinding) sends that name; an address in
        figures cannot be made to point elsewhere.
        """
        if not (found := _HOST.fullmatch(host)):
            return False
        name = found[1].lower()
        if name in self._names:
            return True
        with contextlib.suppress(ValueError):
            address = ipaddress.ip_address(name.strip("[]"))
            return address.is_loopback or not _is_loopback(self.socket.getsockname()[0])
        return False

    def _refusal(self, status: int, why: str) -> web.Response:
        response = web.Response(status=status, text=f"{why}\n", headers=HEADERS)
        response.force_close()
        return response

    # ------------------------------------------------------------------------- answers

    async def _file(self, request: web.Request) -> web.Response:
        """Answer with one of the page's own files."""
        name = request.match_info.get("name", "")
        if name not in self._files:
            raise web.HTTPNotFound
        content, kind = self._files[name]
        host = request.headers["Host"]
        policy = (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
            f"connect-src 'self' ws://{host}; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'"
        )
        headers = HEADERS | {"Content-Security-Policy": policy}
        return web.Response(body=content, content_type=kind, charset="utf-8", headers=headers)

    async def _session(self, request: web.Request) -> web.StreamResponse:
        """Play with a page until it goes, or sends what no page of ours sends."""
        if "Origin" not in request.headers:
            return self._refusal(403, "only a page may play")
        socket = web.WebSocketResponse(
            heartbeat=HEARTBEAT,
            max_msg_size=LARGEST_MESSAGE,
            compress=False,
            timeout=2.0,
            autoping=False,  # the session counts pings as messages
        )
        if not socket.can_prepare(request):
            return self._refusal(400, "not a WebSocket")
        await socket.prepare(request)
        if len(self.sessions) >= self.most_sessions:
            words = f"{self.most_sessions} sessions are open already (--sessions)"
            await socket.close(code=WSCloseCode.TRY_AGAIN_LATER, message=words.encode())
            return socket
        self.sessions.add(socket)
        try:
            session = Session(socket, self.make_world, self.inference, self.encoding, self.hello)
            await session.run()
        except Refused as refused:
            message = f"refused: {refused}".encode()[:120]
            await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=message)
        except (ConnectionError, asyncio.CancelledError):
            pass  # the page is gone, or the server ends
        except Exception as error:  # of this session alone: the others play on
            print(f"a session ended: {type(error).__name__}: {error}", file=sys.stderr)
            await socket.close(code=WSCloseCode.INTERNAL_ERROR, message=b"the model failed")
        finally:
            self.sessions.discard(socket)
        return socket


def listen(host: str, port: int) -> sockets.socket:
    """Bind to an address. Raises UserError where it is in use or not of this machine."""
    family = sockets.AF_INET6 if ":" in host else sockets.AF_INET
    socket = sockets.socket(family, sockets.SOCK_STREAM)
    try:
        socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
        socket.bind((host, port))
        socket.listen(32)
    except OSError as error:
        socket.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"--port {port}: in use; --port 0 takes any free one") from None
        reason = error.strerror or error
        raise UserError(f"--host {host} --port {port}: {reason}") from None
    socket.setblocking(False)
    return socket


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def _own_name() -> str:
    return sockets.gethostname().lower()
