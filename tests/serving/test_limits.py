"""What a request may cost is counted while it is read."""

import asyncio
import json

import pytest

from pairlens.serving.limits import RequestLimits, UnderWay
from pairlens.serving.problems import Problem
from pairlens.serving.settings import ServingLimits

LIMITS = ServingLimits(body=1000, text_body=100, seconds_between_parts=0.05, seconds_for_body=0.2, requests=3, bodies=2)


async def reader(scope, receive, send):
    """Reads its body and says how long it was."""
    size = 0
    while True:
        message = await receive()
        size += len(message["body"])
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


def scope_of(method="POST", kind=b"multipart/form-data", **headers):
    pairs = [(b"content-type", kind), *((name.replace("_", "-").encode(), value) for name, value in headers.items())]
    return {"type": "http", "method": method, "path": "/", "headers": pairs}


def answer(parts, pause=0.0, scope=None, limits=LIMITS):
    """Returns the status and the body of the answer to a body of several parts."""
    sent, left = [], list(parts)

    async def receive():
        await asyncio.sleep(pause)
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def send(message):
        sent.append(message)

    asyncio.run(RequestLimits(reader, limits, UnderWay())(scope or scope_of(), receive, send))
    return sent[0]["status"], sent[1]["body"]


def test_a_body_within_its_limits_is_read():
    assert answer([b"a" * 500, b"b" * 500]) == (200, b"1000")
    assert answer([b"a" * 100], scope=scope_of(kind=b"application/json")) == (200, b"100")


@pytest.mark.parametrize(
    ("parts", "kind"), [([b"a" * 300] * 4, b"multipart/form-data"), ([b"a" * 101], b"application/json")]
)
def test_a_longer_body_ends_while_it_is_read(parts, kind):
    with pytest.raises(Problem) as error:
        answer(parts, scope=scope_of(kind=kind))
    assert error.value.status_code == 413


def test_a_body_that_says_it_is_longer_is_not_read_at_all():
    status, body = answer([], scope=scope_of(content_length=b"1001"))
    assert (status, json.loads(body)["status"]) == (413, 413)


@pytest.mark.parametrize("pause", [0.06, 0.03])
def test_a_body_that_comes_too_slowly_ends(pause):
    # 0.06 s is too long a pause; at 0.03 s for each of 100 parts the whole takes too long.
    with pytest.raises(Problem) as error:
        answer([b"a"] * 100, pause=pause)
    assert error.value.status_code == 408


def test_too_many_requests_are_told_to_come_again():
    entered = []

    async def run():
        release = asyncio.Event()

        async def waiting(scope, receive, send):
            entered.append(scope)
            await release.wait()

        under_way = UnderWay()
        limited = RequestLimits(waiting, LIMITS, under_way)
        sent = []

        async def send(message):
            sent.append(message)

        tasks = [asyncio.create_task(limited(scope_of(), None, send)) for _ in range(2)]
        await asyncio.sleep(0)
        await limited(scope_of(), None, send)
        tasks.append(asyncio.create_task(limited(scope_of("GET"), None, send)))
        await asyncio.sleep(0)
        await limited(scope_of("GET"), None, send)
        release.set()
        await asyncio.gather(*tasks)
        return sent, under_way

    sent, under_way = asyncio.run(run())
    refused = [message for message in sent if message["type"] == "http.response.start"]
    assert [message["status"] for message in refused] == [503, 503]
    assert (b"retry-after", b"1") in refused[0]["headers"]
    assert (len(entered), under_way) != (0, None)
    assert (under_way.requests, under_way.bodies) == (0, 0)
