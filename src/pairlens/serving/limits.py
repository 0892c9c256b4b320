"""Limits that are counted while a request is read: the bytes of its body, its seconds, and the requests under way."""

import asyncio
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pairlens.serving.problems import Problem, busy, problem_response
from pairlens.serving.settings import ServingLimits

WITHOUT_BODY = ("GET", "HEAD", "OPTIONS")


@dataclass(eq=False)
class UnderWay:
    """The requests that are being answered, those of them that have a body, and how many have been answered."""

    requests: int = 0
    bodies: int = 0
    answered: int = 0


class RequestLimits:
    """ASGI middleware that refuses too many requests, and bodies that are too long or too slow."""

    def __init__(self, app: ASGIApp, limits: ServingLimits, under_way: UnderWay) -> None:
        """Wrap an application; `under_way` is counted here and shown among the metrics."""
        self.app = app
        self.limits = limits
        self.under_way = under_way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        has_body = scope["method"] not in WITHOUT_BODY
        refusal = self._refusal(scope, has_body)
        if refusal is not None:
            await problem_response(refusal)(scope, receive, send)
            return
        self.under_way.requests += 1
        self.under_way.bodies += has_body
        try:
            await self.app(scope, _CountedBody(receive, self.limits, _limit_of(scope, self.limits)), send)
        finally:
            self.under_way.requests -= 1
            self.under_way.bodies -= has_body
            self.under_way.answered += 1

    def _refusal(self, scope: Scope, has_body: bool) -> Problem | None:
        limits = self.limits
        if self.under_way.requests >= limits.requests or (has_body and self.under_way.bodies >= limits.bodies):
            return busy("the server has more requests than it can answer at once; try again in a moment")
        stated = dict(scope["headers"]).get(b"content-length", b"0")
        # A length that is no number never comes here: the server refuses it.
        limit = _limit_of(scope, limits)
        return _too_long(limit) if stated.isdigit() and int(stated) > limit else None


class _CountedBody:
    """The messages of a request's body, which end with a problem when they are too many or come too slowly."""

    def __init__(self, receive: Receive, limits: ServingLimits, limit: int) -> None:
        self._receive = receive
        self._limits = limits
        self._limit = limit
        self._left = limit
        self._end = asyncio.get_running_loop().time() + limits.seconds_for_body
        self._is_complete = False

    async def __call__(self) -> Message:
        if self._is_complete:
            # What comes now is the end of the connection, which may take as long as the answer does.
            return await self._receive()
        left = self._end - asyncio.get_running_loop().time()
        try:
            # `wait_for` would start a task for each message, which takes longer than reading a small body.
            async with asyncio.timeout(max(0.0, min(left, self._limits.seconds_between_parts))):
                message = await self._receive()
        except TimeoutError:
            self._is_complete = True
            raise Problem(
                408, "the body of the request came too slowly; send it again", {"connection": "close"}
            ) from None
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            self._is_complete = True
            raise _too_long(self._limit)
        self._is_complete = not message.get("more_body", False)
        return message


def _limit_of(scope: Scope, limits: ServingLimits) -> int:
    kind = dict(scope["headers"]).get(b"content-type", b"")
    return limits.body if kind.startswith(b"multipart/") else limits.text_body


def _too_long(limit: int) -> Problem:
    return Problem(
        413,
        f"the request has more than {limit / (1 << 20):g} MiB; send smaller photos, or fewer",
        {"connection": "close"},
    )
