"""The memory that a server has kept for its next requests is given back while nobody asks for anything."""

import asyncio

from pairlens.core.freed_memory import give_memory_back
from pairlens.serving.limits import UnderWay
from pairlens.serving.metrics import resident_bytes

SECONDS_BETWEEN_LOOKS = 1.0
# Below this growth, giving memory back would only make the next request slower.
GROWTH = 1.1


async def give_back_at_rest(under_way: UnderWay, seconds: float = SECONDS_BETWEEN_LOOKS) -> None:
    """Look now and then, until cancelled; memory goes back if it has grown and nobody was answered since the last look."""
    rest, answered = resident_bytes(), under_way.answered
    while True:
        await asyncio.sleep(seconds)
        is_at_rest = under_way.requests == 0 and under_way.answered == answered
        answered = under_way.answered
        if is_at_rest and resident_bytes() > GROWTH * rest:
            await asyncio.to_thread(give_memory_back)
            # What is left is in use, by photos that were added for example.
            rest = max(rest, resident_bytes())
