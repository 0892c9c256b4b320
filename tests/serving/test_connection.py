"""A connection ends when what stands around bodies is too long, or when the headers of a request do not come in time."""

import asyncio
import itertools

import pytest
import uvicorn
from uvicorn.server import ServerState

from pairlens.serving.connection import MAX_BYTES_OUTSIDE_BODY, LimitedConnection

HEAD = b"POST / HTTP/1.1\r\nhost: a\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
# Far more than one part that the system hands over.
ENOUGH = 4 << 20


class HastyConnection(LimitedConnection):
    seconds = 0.3


async def answer_length(scope, receive, send):
    """Answers with the number of bytes of the body."""
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    text = str(size).encode()
    headers = [(b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


def converse(talk, connection=LimitedConnection):
    """Returns what `talk(reader, writer)` returns, a coroutine that talks with a server."""

    async def run():
        config = uvicorn.Config(answer_length, http=connection, ws="none", lifespan="off", log_level="critical")
        config.load()
        state = ServerState()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: connection(config, state, {}), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        try:
            return await asyncio.wait_for(talk(reader, writer), 20)
        finally:
            writer.transport.abort()
            server.close()

    return asyncio.run(run())


async def sent_until_refused(writer, parts, pause=0.0):
    """Returns how many bytes a server takes before it ends the connection."""
    sent = 0
    try:
        for part in parts:
            if sent >= ENOUGH:
                break
            writer.write(part)
            sent += len(part)
            await writer.drain()
            await asyncio.sleep(pause)
    except ConnectionError:
        pass
    return sent


async def read_to_the_end(reader):
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def read_answer(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head
    return int(await reader.read(int(head.partition(b"content-length: ")[2].split()[0])))


@pytest.mark.parametrize(
    ("start", "parts"),
    [
        (b"GET /", itertools.repeat(b"a" * 1000)),
        (HEAD + b"x: ", itertools.repeat(b"a" * 1000)),
        (HEAD, itertools.repeat(b"a" * 1000)),
        (HEAD, (b"x%d: %s\r\n" % (n, b"a" * 500) for n in itertools.count())),
        (CHUNKED + b"1;", itertools.repeat(b"a" * 1000)),
        (CHUNKED + b"1\r\na\r\n0\r\n", (b"x%d: %s\r\n" % (n, b"a" * 500) for n in itertools.count())),
        (b"", itertools.repeat(b"\r\n" * 500)),
    ],
    ids=["address", "value", "name", "headers", "chunk extension", "trailers", "blank lines"],
)
def test_what_stands_around_a_body_and_has_no_end_ends_the_connection(start, parts):
    async def talk(reader, writer):
        return await sent_until_refused(writer, itertools.chain([start], parts))

    assert MAX_BYTES_OUTSIDE_BODY <= converse(talk) < ENOUGH


def test_long_bodies_and_many_requests_are_answered():
    async def talk(reader, writer):
        sizes = []
        for size in (0, 10, 1 << 20):
            writer.write(HEAD + b"content-length: %d\r\n\r\n" % size + b"a" * size)
            sizes.append(await read_answer(reader))
        for _ in range(200):
            writer.write(HEAD + b"x: " + b"a" * 1000 + b"\r\ncontent-length: 3\r\n\r\nabc")
            sizes.append(await read_answer(reader))
        writer.write(CHUNKED + b"3;note=1\r\nabc\r\n" * 30_000 + b"0\r\n\r\n")
        return [*sizes, await read_answer(reader)]

    assert converse(talk) == [0, 10, 1 << 20, *[3] * 200, 90_000]


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET /",
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nx:",
    ],
)
def test_a_request_whose_headers_do_not_come_is_ended_by_the_clock(sent):
    async def talk(reader, writer):
        loop = asyncio.get_running_loop()
        if b"\r\n\r\n" in sent:
            first, _, rest = sent.partition(b"\r\n\r\n")
            writer.write(first + b"\r\n\r\n")
            await read_answer(reader)
            writer.write(rest)
        else:
            writer.write(sent)
        start = loop.time()
        assert await read_to_the_end(reader) == b""
        return loop.time() - start

    assert 0.2 < converse(talk, HastyConnection) < 10


def test_headers_that_trickle_are_ended_by_the_clock():
    async def talk(reader, writer):
        return await sent_until_refused(writer, itertools.repeat(b"a"), pause=0.05)

    assert converse(talk, HastyConnection) < 100


def test_a_pause_between_requests_and_one_within_a_body_are_nobodys_fault():
    async def talk(reader, writer):
        for size in (3, 4):
            writer.write(HEAD + b"content-length: %d\r\n\r\n" % size)
            await asyncio.sleep(0.5)
            writer.write(b"a" * size)
            assert await read_answer(reader) == size
            await asyncio.sleep(0.5)

    converse(talk, HastyConnection)
