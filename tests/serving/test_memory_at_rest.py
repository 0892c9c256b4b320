"""A server gives memory back when it has grown and nobody asks for anything, and never during a request."""

import asyncio

import pytest

from pairlens.serving import memory_at_rest
from pairlens.serving.limits import UnderWay
from pairlens.serving.memory_at_rest import give_back_at_rest


class Process:
    """A process whose memory is `held` bytes, of which `used` stay when memory is given back."""

    def __init__(self, monkeypatch):
        self.held = self.used = 1000
        self.given_back = 0
        monkeypatch.setattr(memory_at_rest, "resident_bytes", lambda: self.held)
        monkeypatch.setattr(memory_at_rest, "give_memory_back", self.give_back)

    def give_back(self):
        self.given_back += 1
        self.held = self.used


async def watched(under_way, changes):
    """Watch while changes are made, a few looks apart."""
    task = asyncio.create_task(give_back_at_rest(under_way, seconds=0.005))
    for change in (lambda: None, *changes):
        await asyncio.sleep(0.05)
        change()
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_memory_that_has_grown_is_given_back_once(monkeypatch):
    process = Process(monkeypatch)
    asyncio.run(watched(UnderWay(), [lambda: setattr(process, "held", 1500)]))
    assert process.given_back == 1
    assert process.held == 1000


def test_little_growth_and_what_is_in_use_stay(monkeypatch):
    process = Process(monkeypatch)
    asyncio.run(watched(UnderWay(), [lambda: setattr(process, "held", 1090)]))
    assert process.given_back == 0

    def add_photos():
        process.held = process.used = 3000

    asyncio.run(watched(UnderWay(), [add_photos]))
    assert process.given_back == 1


def test_nothing_happens_while_somebody_is_answered(monkeypatch):
    process, under_way = Process(monkeypatch), UnderWay(requests=1)
    asyncio.run(watched(under_way, [lambda: setattr(process, "held", 1500)]))
    assert process.given_back == 0
    process.held = 1000

    def end():
        under_way.requests, under_way.answered = 0, 1

    asyncio.run(watched(under_way, [lambda: setattr(process, "held", 1600), end]))
    assert process.given_back == 1
