"""Who may come in: the name by which the server is called, the page that a request comes from, and the token."""

import hashlib
import hmac
import socket
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from pairlens.serving.limits import WITHOUT_BODY
from pairlens.serving.problems import Problem, problem_response
from pairlens.serving.settings import ServingSettings, is_address

COOKIE = "pairlens_session"
# Without a token these answer everybody: the health of the process, the page that asks for the token and its files.
OPEN_PATHS = ("/healthz", "/login", "/favicon.ico")
OPEN_FOLDER = "/static/"
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


class AccessCheck:
    """ASGI middleware that refuses clients without the token, other sites, and false host names (DNS rebinding)."""

    def __init__(self, app: ASGIApp, settings: ServingSettings) -> None:
        """Wrap an application."""
        self.app = app
        self.settings = settings
        self.names = {*LOOPBACK_NAMES, settings.host.lower(), *(name.lower() for name in settings.names)}
        if not settings.is_loopback:
            self.names.add(socket.gethostname().lower())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        problem = self._wrong_name(scope) or _other_site(scope, headers) or self._without_token(scope, headers)
        if problem is None:
            await self.app(scope, receive, send)
        elif problem.status_code == 401 and "text/html" in headers.get(b"accept", "") and scope["method"] == "GET":
            await RedirectResponse("/login", 303)(scope, receive, send)
        else:
            await problem_response(problem)(scope, receive, send)

    def _wrong_name(self, scope: Scope) -> Problem | None:
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        name = host_name(hosts[0]) if len(hosts) == 1 else None
        # An address is no name that could have been made to lead here.
        is_own_address = name is not None and not self.settings.is_loopback and is_address(name)
        if name in self.names or is_own_address:
            return None
        return Problem(421, f"this server is not called {name or 'so'}; start it with --names if it should be")

    def _without_token(self, scope: Scope, headers: dict[bytes, str]) -> Problem | None:
        token = self.settings.token
        if token is None or scope["path"] in OPEN_PATHS or scope["path"].startswith(OPEN_FOLDER):
            return None
        scheme, _, given = headers.get(b"authorization", "").partition(" ")
        if scheme.lower() == "bearer" and is_token(given.strip(), token):
            return None
        if hmac.compare_digest(_cookie(headers).encode(), session_of(token).encode()):
            return None
        return Problem(
            401, "this server needs its token, as Authorization: Bearer TOKEN", {"www-authenticate": "Bearer"}
        )


def host_name(host: str) -> str | None:
    """Return the name in a Host header, in lower case and without its port; None if it is no name.

    >>> host_name("Photos.example:8000"), host_name("[::1]:80"), host_name("a b")
    ('photos.example', '::1', None)
    """
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    is_plain = parts.netloc == host and not parts.username and parts.hostname and " " not in host
    return parts.hostname if is_plain else None


def _other_site(scope: Scope, headers: dict[bytes, str]) -> Problem | None:
    """Return the problem of a request that a page of another site has made."""
    is_reading = scope["method"] in WITHOUT_BODY
    # Browsers say it of every request; a link from elsewhere may open the page, and nothing of the API.
    site = headers.get(b"sec-fetch-site", "none")
    crossing = site in ("cross-site", "same-site") and (not is_reading or scope["path"].startswith("/api/"))
    origin = headers.get(b"origin")
    if not is_reading and origin is not None:
        crossing |= urlsplit(origin).netloc.lower() != headers.get(b"host", "").lower()
    return Problem(403, "requests from pages of other sites are refused") if crossing else None


def is_token(given: str, token: str) -> bool:
    """Return whether a text is the token; the time does not depend on how much of it is right."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


def session_of(token: str) -> str:
    """Return what a browser keeps once it was told the token, from which the token cannot be found."""
    return hmac.new(token.encode(), b"pairlens session 1", hashlib.sha256).hexdigest()


def _cookie(headers: dict[bytes, str]) -> str:
    try:
        morsel = SimpleCookie(headers.get(b"cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return "" if morsel is None else morsel.value
