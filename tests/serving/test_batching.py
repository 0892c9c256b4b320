"""Jobs that arrive together are one batch, and each gets its own answer or its own error."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from time import monotonic

import numpy as np
import pytest

from pairlens.serving import batching
from pairlens.serving.batching import BatchedModel, BatchQueue, EmbeddingJob, embed_jobs
from pairlens.serving.decoding_lanes import DecodingLanes, is_costly
from support.served_collection import picture, tiny_model


def test_what_waits_is_one_batch():
    sizes, started, release = [], Event(), Event()

    def work(numbers):
        sizes.append(len(numbers))
        started.set()
        release.wait(5)
        return [2 * number for number in numbers]

    queue = BatchQueue(work, most=4)
    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(queue.run, 0)
        assert started.wait(5)
        rest = [threads.submit(queue.run, number) for number in range(1, 6)]
        while queue._queue.qsize() < 5:
            pass
        release.set()
        assert [future.result(5) for future in (first, *rest)] == [0, 2, 4, 6, 8, 10]
    assert sizes == [1, 4, 1]
    queue.close()


def test_a_batch_waits_for_what_is_coming_but_not_long(monkeypatch):
    monkeypatch.setattr(batching.os, "cpu_count", lambda: 2)
    sizes, coming, patience = [], [0], [60.0]

    def work(numbers):
        sizes.append(len(numbers))
        return numbers

    queue = BatchQueue(work, most=2, coming=lambda: coming[0], patience=lambda number: patience[0])
    # Nothing is coming: done at once, in the thread of the caller or in that of the queue.
    start = monotonic()
    assert (queue.run_here(0), queue.run(1)) == (0, 1)
    with ThreadPoolExecutor(8) as threads:
        # Five are coming, which are more than the cores: the first one waits for the second, with which the batch is full.
        coming[0] = 5
        first = threads.submit(queue.run_here, 2)
        second = threads.submit(queue.run, 3)
        assert (first.result(30), second.result(30)) == (2, 3)
        assert sizes == [1, 1, 2]
    # One that is coming has a core of its own.
    coming[0] = 1
    assert queue.run_here(4) == 4
    assert monotonic() - start < 30
    # What was to come does not.
    coming[0], patience[0] = 5, 0.3
    start = monotonic()
    assert queue.run(5) == 5
    assert monotonic() - start > 0.29
    assert sizes == [1, 1, 2, 1, 1]
    queue.close()


def test_one_wrong_job_spoils_no_other():
    started, release = Event(), Event()

    def work(numbers):
        started.set()
        release.wait(5)
        if 2 in numbers:
            raise ValueError(f"{len(numbers)} with a 2")
        return numbers

    queue = BatchQueue(work)
    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(queue.run, 0)
        assert started.wait(5)
        rest = [threads.submit(queue.run, number) for number in (1, 2, 3)]
        while queue._queue.qsize() < 3:
            pass
        release.set()
        assert (first.result(5), rest[0].result(5), rest[2].result(5)) == (0, 1, 3)
        with pytest.raises(ValueError, match="1 with a 2"):
            rest[1].result(5)
    queue.close()


def test_a_batch_has_the_vectors_of_its_photos_one_by_one():
    model = tiny_model()
    queue = BatchQueue(embed_jobs)
    batched = BatchedModel(model, queue, DecodingLanes())
    seen = [batched.read(picture(number)).seen for number in range(5)]
    jobs = [EmbeddingJob(model, np.stack(seen[:2])), EmbeddingJob(model, np.stack(seen[2:]))]
    together = np.concatenate(embed_jobs(jobs))
    np.testing.assert_allclose(together, np.concatenate([model.embed(one[None]) for one in seen]), atol=1e-5)
    np.testing.assert_allclose(batched.embed(np.stack(seen)), together, atol=1e-5)
    assert batched.fingerprint == model.fingerprint
    queue.close()


def test_costly_pictures_are_recognised_by_their_header():
    assert not is_costly(picture(0))
    assert not is_costly(picture(0, format="TIFF"))
    # 5 million pixels of a format that may be slow.
    assert is_costly(picture(0, (2500, 2000), "TIFF"))
    assert not is_costly(picture(0, (2500, 2000)))
    # 30 million pixels.
    assert is_costly(picture(0, (6000, 5000)))
    # Two hundred scans of a picture of 4 million pixels.
    assert is_costly(picture(0, (2000, 2000)) + b"\xff\xda" * 200)


def test_a_costly_photo_waits_for_costly_ones_alone():
    lanes, release, started = DecodingLanes(), Event(), Event()
    costly = bytes(32 << 20)

    def wait():
        started.set()
        return release.wait(5)

    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(lanes.run, costly, wait)
        assert started.wait(5)
        second = threads.submit(lanes.run, costly, lambda: "second")
        assert threads.submit(lanes.run, b"", lambda: "usual").result(5) == "usual"
        assert not second.done()
        release.set()
        assert (first.result(5), second.result(5)) == (True, "second")
    with pytest.raises(ValueError, match="unreadable"):
        lanes.run(costly, lambda: (_ for _ in ()).throw(ValueError("unreadable")))
    lanes.close()
