"""A server gives memory back when it has grown and nobody asks for anything, and never during a request."""

import asyncio
import time

import pytest

from pairlens.collection.collection import Collection
from pairlens.serving import memory_at_rest
from pairlens.serving.limits import UnderWay
from pairlens.serving.memory_at_rest import give_back_at_rest
from support.served_collection import serving


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


async def watched(process, under_way, change, expected):
    """Watch while something changes; returns once memory has been given back as often as expected, and a few looks later."""
    task = asyncio.create_task(give_back_at_rest(under_way, seconds=0.005))
    await asyncio.sleep(0.05)
    change()
    end = time.monotonic() + 20
    while process.given_back < expected and time.monotonic() < end:
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert process.given_back == expected


def test_memory_that_has_grown_is_given_back_once(monkeypatch):
    process = Process(monkeypatch)
    asyncio.run(watched(process, UnderWay(), lambda: setattr(process, "held", 1500), 1))
    assert process.held == 1000


def test_little_growth_stays(monkeypatch):
    process = Process(monkeypatch)
    asyncio.run(watched(process, UnderWay(), lambda: setattr(process, "held", 1090), 0))


def test_what_is_in_use_is_asked_for_once(monkeypatch):
    process = Process(monkeypatch)

    def add_photos():
        process.held = process.used = 3000

    asyncio.run(watched(process, UnderWay(), add_photos, 1))


def test_nothing_happens_while_somebody_is_answered(monkeypatch):
    process, under_way = Process(monkeypatch), UnderWay(requests=1)
    asyncio.run(watched(process, under_way, lambda: setattr(process, "held", 1500), 0))
    process.held = 1000

    def end():
        process.held = 1600
        under_way.requests, under_way.answered = 0, 1

    asyncio.run(watched(process, under_way, end, 1))


def test_libraries_are_left_out_of_garbage_collection_while_an_application_answers(
    shop_folder, tmp_path, garbage_collection_of_applications
):
    garbage_collection_of_applications.clear()
    with serving(Collection.open(shop_folder), tmp_path):
        assert garbage_collection_of_applications == ["collect", "freeze"]
    assert garbage_collection_of_applications == ["collect", "freeze", "unfreeze"]
