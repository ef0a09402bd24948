"""Who is let in: pages of the server's own, under its own names, and people with a login.

In a WebUI that holds for what is Rimo's, its API and its events; the page without a WebUI stands
behind it as a whole.
"""

import asyncio
import base64
import binascii
import ipaddress
import secrets
import time
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from fastapi import HTTPException, Request
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lib_rimo.errors import UserError
from lib_rimo.hosts.reach import Reach

_fault_of_request: ContextVar[UserError | None] = ContextVar("rimo_fault", default=None)


class AccessMiddleware:
    """Looks at every request: refuses what comes from elsewhere, or has our events know it."""

    def __init__(
        self,
        app: ASGIApp,
        reach: Callable[[], Reach],
        refuses: bool = False,
        guesses: "Guesses | None" = None,
    ) -> None:
        self.app = app
        self.reach = reach
        self.refuses = refuses
        self.guesses = guesses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, or answer it with what is wrong."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        method = scope.get("method", "GET")
        fault = self.reach().fault(Headers(scope=scope), method)
        if fault is not None and self.refuses:
            await _refuse(fault, scope, receive, send)
            return
        mark = _fault_of_request.set(fault)
        try:
            if self.guesses is not None and method == "POST" and _is_login(scope):
                await self._slowly(self.guesses, scope, receive, send)
            else:
                await self.app(scope, receive, send)
        finally:
            _fault_of_request.reset(mark)

    async def _slowly(self, guesses: "Guesses", scope: Scope, receive: Receive, send: Send) -> None:
        address = (scope.get("client") or ("",))[0]

        async def look(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                guesses.forgive(address)
            await send(message)

        try:
            await guesses.wait(address)
        except HTTPException as error:
            answer = JSONResponse({"detail": error.detail}, error.status_code, error.headers)
            await answer(scope, receive, send)
            return
        await self.app(scope, receive, look)


def _is_login(scope: Scope) -> bool:
    return str(scope["path"]).rstrip("/").endswith("/login")


async def _refuse(fault: UserError, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    await JSONResponse({"detail": str(fault)}, 403)(scope, receive, send)


_reach: Callable[[], Reach] | None = None


def stand_before(
    app: Any,
    reach: Callable[[], Reach],
    *,
    refuses: bool = False,
    guesses: "Guesses | None" = None,
) -> None:
    """Have a running application know of each request whether it comes from elsewhere.

    A WebUI's own routes are left as they are, and `asked_from_elsewhere` tells our events; with
    `refuses` all routes are closed to such requests. First of all middlewares: Gradio's answers
    other sites that they may send any header, which then could not be trusted.
    """
    global _reach  # a process has one server, and its events know nothing of the application
    _reach = reach
    mine = Middleware(AccessMiddleware, reach=reach, refuses=refuses, guesses=guesses)
    app.user_middleware.insert(0, mine)
    app.middleware_stack = None  # made anew at the next request


def asked_from_elsewhere(request: Any) -> UserError | None:
    """What is wrong with what called an event, a `gradio.Request`; none where nothing is.

    Its headers tell of the visitor also where Gradio calls itself for a queue; but Gradio 3 takes
    them from the body if that has some, so those of the connection have to be right too.
    """
    fault = _fault_of_request.get()
    headers = getattr(request, "headers", None)
    if fault is not None or headers is None or _reach is None:
        return fault
    given = headers if isinstance(headers, Mapping) else vars(headers)
    plain = {str(name).lower(): str(value) for name, value in given.items()}
    return _reach().fault(plain)


class Guesses:
    """Logins that failed, by address: each lets the next one wait longer."""

    FREE = 5  # attempts at once
    MOST_SECONDS = 60.0
    MOST_WAITING = 10.0  # seconds; who came too often has to come again later
    MOST_ADDRESSES = 10_000

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._next: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def delay(self, address: str) -> float:
        """Count an attempt; the seconds that it has to wait. Infinite: it is not to be made."""
        key = _neighbourhood(address)
        now = self.clock()
        count, free_at = self._next.pop(key, (0, now))
        # A quiet quarter of an hour, and all is forgotten.
        if now - free_at > 900:
            count, free_at = 0, now
        wait = max(0.0, free_at - now)
        if wait <= self.MOST_WAITING:
            count += 1
            pause = 0.0 if count < self.FREE else min(2.0 ** (count - self.FREE), self.MOST_SECONDS)
            free_at = max(now, free_at) + pause
        self._next[key] = (count, free_at)
        while len(self._next) > self.MOST_ADDRESSES:
            self._next.popitem(last=False)
        return wait if wait <= self.MOST_WAITING else float("inf")

    async def wait(self, address: str) -> None:
        """Let an attempt wait its time; raises HTTPException 429 where that would be long."""
        seconds = self.delay(address)
        if seconds == float("inf"):
            text = "Too many wrong passwords: wait a minute."
            raise HTTPException(429, text, {"Retry-After": str(int(self.MOST_SECONDS))})
        await asyncio.sleep(seconds)

    def forgive(self, address: str) -> None:
        """The attempt was right."""
        self._next.pop(_neighbourhood(address), None)


def _neighbourhood(address: str) -> str:
    """An address; of IPv6 the network of one household, which has addresses without number."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(known, ipaddress.IPv6Address) and known.ipv4_mapped is None:
        return str(ipaddress.ip_network((int(known) >> 64 << 64, 64)))
    return str(known)


class Guard:
    """Who may call: everybody without logins, else those with one, by HTTP Basic or the page's.

    And in either case no foreign page.
    """

    def __init__(
        self,
        logins: Mapping[str, str] | None = None,
        has_session: Callable[[Request], bool] = lambda request: False,
        reach: Callable[[], Reach] = Reach,
    ) -> None:
        self.logins = {_plain(user): _plain(password) for user, password in (logins or {}).items()}
        self.has_session = has_session
        self.reach = reach
        self.guesses = Guesses()

    async def __call__(self, request: Request) -> None:
        """Let the request pass or answer 403 or 401."""
        reach = replace(self.reach(), has_login=bool(self.logins))
        fault = reach.fault(request.headers, request.method)
        if fault is not None:
            raise HTTPException(403, str(fault))
        if not self.logins or self.has_session(request):
            return
        given = _basic(request.headers.get("authorization", ""))
        if given is not None:
            address = request.client.host if request.client else ""
            await self.guesses.wait(address)
            if self.is_right(*given):
                self.guesses.forgive(address)
                return
        raise HTTPException(401, "Log in first.", {"WWW-Authenticate": 'Basic charset="UTF-8"'})

    def is_right(self, user: str, password: str) -> bool:
        """Whether a login is one of ours."""
        known = self.logins.get(_plain(user))
        given = _plain(password).encode()
        # Compared with itself where there is no such user, so that this takes as long.
        same = secrets.compare_digest(given if known is None else known.encode(), given)
        return same and known is not None


def _plain(text: str) -> str:
    """Text of one form, however the keyboard put its accents together."""
    return unicodedata.normalize("NFC", text.strip())


def _basic(header: str) -> tuple[str, str] | None:
    """User and password of HTTP Basic, in UTF-8 or, as some clients have it, in Latin-1."""
    scheme, _, code = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        content = base64.b64decode(code.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    user, colon, password = text.partition(":")
    return (user, password) if colon else None
