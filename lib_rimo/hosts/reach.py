"""Under which names a server is reached, and which pages may speak to it.

A page of another site can have the browser send requests to a server on its visitor's machine. It
is told apart by two headers that scripts cannot set: by `Origin`, and, where the site lets its own
name point to the visitor's machine (DNS rebinding), by the foreign name in `Host`.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from lib_rimo.errors import UserError

SETTING = "RIMO_ALLOWED_HOSTS"
"""An environment variable: more names under which the server is reached, commas between."""

# Zones of names that no stranger can let point to an address of his choice: those that the public
# DNS does not have, and those of tunnels whose provider sets all addresses.
_SAFE_ZONES = (
    ".localhost",
    ".local",
    ".localdomain",
    ".internal",
    ".home.arpa",
    ".lan",
    ".home",
    ".gradio.live",
    ".ngrok.io",
    ".ngrok.app",
    ".ngrok.dev",
    ".ngrok-free.app",
    ".ngrok-free.dev",
    ".trycloudflare.com",
    ".ts.net",
    ".proxy.runpod.net",
)
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class Reach:
    """What a server was told of the names it is reached by."""

    names: frozenset[str] = frozenset()
    """In lower case, without ports."""
    origins: frozenset[str] = frozenset()
    """Foreign pages that may speak to it, as `https://example.org`; `*` for all."""
    origin_pattern: str = ""
    """A regular expression for more of them."""
    has_login: bool = False
    """Whether nobody is let in without a login."""
    own_name: str = field(default_factory=lambda: socket.gethostname().lower())

    def fault(self, headers: Mapping[str, str], method: str = "POST") -> UserError | None:
        """What is wrong with a request; none where nothing is. Names of headers in lower case.

        A program, which sends neither Origin nor Sec-Fetch-Site, is only asked for a known name.
        """
        host = headers.get("host", "")
        origin = headers.get("origin", "")
        if origin and self._allows(origin):
            return None
        if host and not (
            self._knows(host_name(host)) or _was_encrypted(headers) or self._logs_in(headers)
        ):
            return UserError(
                "{name} is no name that this server is known by: open it as localhost or by its "
                "IP address, or set {setting}={name} before it is started.",
                name=host_name(host) or host,
                setting=SETTING,
            )
        if _is_foreign(headers, method):
            return UserError(
                "A page of {origin} asked for this, and only this server's own pages may: open the "
                "page itself, or set {setting}={name} before the server is started.",
                origin=origin or headers.get("referer", "") or "another site",
                setting=SETTING,
                name=host_name(urlsplit(origin).netloc) or "example.org",
            )
        return None

    def _knows(self, name: str) -> bool:
        """Whether no stranger can have made this name: DNS rebinding needs one that he made."""
        if _is_address(name) or "." not in name:
            return bool(name)
        return name in self.names or name == self.own_name or name.endswith(_SAFE_ZONES)

    def _allows(self, origin: str) -> bool:
        return (
            origin in self.origins
            or "*" in self.origins
            or host_name(urlsplit(origin).netloc) in self.names
            or bool(self.origin_pattern and re.fullmatch(self.origin_pattern, origin))
        )

    def _logs_in(self, headers: Mapping[str, str]) -> bool:
        """Whether a login decides: a page under a foreign name has neither cookie nor password."""
        has_session = "access-token" in headers.get("cookie", "")
        return self.has_login and (has_session or "authorization" in headers)


def names_set() -> frozenset[str]:
    """The names that RIMO_ALLOWED_HOSTS gives."""
    return _names(os.environ.get(SETTING, "").split(","))


def reach_of_webui(options: Any, *, has_login: bool) -> Reach:
    """What a WebUI was told by its flags: its name, and which pages may speak to it."""
    origins = str(getattr(options, "cors_allow_origins", None) or "").split(",")
    origins = [origin.strip().rstrip("/") for origin in origins if origin.strip()]
    return Reach(
        names=names_set() | _names([str(getattr(options, "server_name", None) or "")]),
        origins=frozenset(origins),
        origin_pattern=str(getattr(options, "cors_allow_origins_regex", None) or ""),
        has_login=has_login,
    )


def _names(given: Iterable[str]) -> frozenset[str]:
    return frozenset(name for text in given if (name := host_name(text)))


def host_name(place: str) -> str:
    """The name or address in `name:port`, in lower case; empty where it is no such thing."""
    place = place.strip().lower()
    if place.startswith("["):
        address, bracket, _ = place[1:].partition("]")
        return address if bracket and _is_address(address) else ""
    name, _, port = place.partition(":")
    is_one = re.fullmatch(r"[a-z0-9._-]+", name) and (not port or port.isdecimal())
    return name.rstrip(".") if is_one else ""


def is_loopback(name: str) -> bool:
    """Whether a name or an address is this machine's own."""
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return name.lower() == "localhost"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _was_encrypted(headers: Mapping[str, str]) -> bool:
    """Whether the browser came over TLS, as to a proxy: then that had a certificate of the name.

    Browsers tell of the site of a request only where its address is encrypted or localhost, and no
    script can set these headers. A foreign name that points here fails for want of a certificate.
    """
    if headers.get("sec-fetch-site") in ("same-origin", "none"):
        return True
    origin = urlsplit(headers.get("origin", ""))
    return origin.scheme == "https" and _place(origin.netloc) == _place(headers.get("host", ""))


def _is_foreign(headers: Mapping[str, str], method: str) -> bool:
    """Whether another site's page asked; its links may still open ours."""
    site = headers.get("sec-fetch-site", "")
    if site in ("same-origin", "none"):
        return False
    if site in ("same-site", "cross-site"):
        is_visit = headers.get("sec-fetch-mode") == "navigate" and method in _READING
        return not is_visit
    source = headers.get("origin", "")
    if not source and method not in _READING:
        source = headers.get("referer", "")
    if not source:
        return False
    # A proxy that writes its own Host tells of the browser's; a foreign page cannot.
    own = (headers.get("host", ""), headers.get("x-forwarded-host", "").partition(",")[0])
    return _place(urlsplit(source).netloc) not in {_place(place) for place in own if place}


def _place(netloc: str) -> str:
    return re.sub(r":(80|443)$", "", netloc.strip().lower())
