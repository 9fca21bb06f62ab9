"""Who may talk to a server: asked by its own name, from its own pages, with its key where it has one.

A browser is a way in: any page that a person looks at may send requests to 127.0.0.1, and one whose name
resolves to it (DNS rebinding) may read the answers. So the Host has to be ours, and a POST has to have a
content type that no form can send, and no foreign Origin.
"""

import hmac
import ipaddress
from collections.abc import Collection
from hashlib import sha256
from typing import Final
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from draftwire.runtime.web.replies import JSON, refusal

_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_LOCAL: Final = "localhost"


class Guard:
    """Middleware that lets a request through, or answers it itself.

    `hosts`: names that the server is called by, besides localhost and any IP address; None: any name, which
    is for a server with a key. `key`: given as `Authorization: Bearer KEY`, or once as `/?key=KEY`, which
    sets a cookie and leads to the page; None: nobody is asked for one.
    """

    def __init__(self, app: ASGIApp, *, hosts: Collection[str] | None, key: str | None) -> None:
        self._app = app
        self._hosts = None if hosts is None else frozenset(host.lower() for host in hosts)
        self._key = None if key is None else key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Of an HTTP request."""
        answer = self._answer(scope) if scope["type"] == "http" else None
        await (self._app if answer is None else answer)(scope, receive, send)

    def _answer(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        return (
            self._of_another_name(headers)
            or self._without_key(scope, headers)
            or self._from_elsewhere(scope, headers)
        )

    def _of_another_name(self, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        name = _name_of(host)
        if self._hosts is None or name == _LOCAL or name in self._hosts or _is_address(name):
            return None
        message = f"this server is not called {host[:200]!r}: use its IP address, or localhost"
        return refusal(403, message, kind="permission_error", code="unknown_host")

    def _without_key(self, scope: Scope, headers: Headers) -> Response | None:
        if self._key is None:
            return None
        name = f"draftwire-{(scope.get('server') or ('', 0))[1]}"  # cookies don't tell ports apart
        if scope["path"] == "/" and scope["method"] == "GET" and scope["query_string"]:
            given = parse_qs(scope["query_string"].decode("latin-1")).get("key")
            if given and self._is_key(given[0].encode()):
                there = RedirectResponse("/", status_code=303, headers={"cache-control": "no-store"})
                there.set_cookie(name, self._token, httponly=True, samesite="strict", path="/")
                return there
        scheme, _, word = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_key(word.strip().encode("latin-1")):
            return None
        if hmac.compare_digest(_cookie(headers, name).encode(), self._token.encode()):
            return None
        message = "this server wants its key: send `Authorization: Bearer KEY`; in a browser open /?key=KEY"
        return refusal(
            401,
            message,
            kind="authentication_error",
            code="invalid_api_key",
            headers={"www-authenticate": "Bearer"},
        )

    def _from_elsewhere(self, scope: Scope, headers: Headers) -> Response | None:
        if scope["method"] in _READS:
            return None
        origin = headers.get("origin")
        if origin is not None and not _same_place(origin, headers.get("host", "")):
            message = f"requests from pages of {origin[:200]!r} are not taken: use a page of this server"
            return refusal(403, message, kind="permission_error", code="foreign_origin")
        if scope["method"] == "POST" and _media_type(headers) != JSON:
            return refusal(
                415, f"send JSON, and say so: `Content-Type: {JSON}`", code="unsupported_media_type"
            )
        return None

    def _is_key(self, given: bytes) -> bool:
        assert self._key is not None
        return hmac.compare_digest(sha256(given).digest(), sha256(self._key).digest())

    @property
    def _token(self) -> str:
        """What a browser keeps: it proves the key and does not tell it."""
        assert self._key is not None
        return hmac.digest(self._key, b"draftwire page", "sha256").hex()


def hosts_of(host: str, *, key: str | None) -> Collection[str] | None:
    """The names that a server bound there answers to, as Guard takes them."""
    return None if key is not None else (host,)


def _name_of(host: str) -> str:
    """Without its port, and without brackets."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    """No page has an address for its name unless it comes from there."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _same_place(origin: str, host: str) -> bool:
    try:
        theirs = urlsplit(origin)
        default = {"http": 80, "https": 443}.get(theirs.scheme)
        ours = urlsplit(f"//{host}")
        return default is not None and (theirs.hostname, theirs.port or default) == (
            ours.hostname,
            ours.port or default,
        )
    except ValueError:
        return False


def _media_type(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _cookie(headers: Headers, name: str) -> str:
    """Its value, beside whatever others localhost has; no reader of cookies is needed, which take seconds for
    some.
    """
    for pair in headers.get("cookie", "").split(";"):
        found, _, value = pair.strip().partition("=")
        if found == name:
            return value
    return ""


__all__ = ["Guard", "hosts_of"]
