"""Requests that arrive together are computed as one batch, by threads that never wait for more of them."""

import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Semaphore, Thread
from typing import Any, Generic, TypeVar

import numpy as np

from pairlens.collection.collection_model import CollectionModel
from pairlens.collection.photo_view import PhotoView
from pairlens.core.boxes import Box, ShareBox
from pairlens.core.threads import share_of_cores
from pairlens.serving.decoding_lanes import DecodingLanes

Job = TypeVar("Job")
Answer = TypeVar("Answer")
# On one core of a CPU a batch is hardly faster per photo than a single one: an EfficientNet-Lite0 at 224 pixels takes
# 14.6 ms for one photo and 12.5 ms for each of 4. So the cores get small batches of their own.
BATCH = 8
MOST_THREADS = 4
# While a batch waits for jobs that are coming, it looks for them in steps of this.
SECONDS_OF_A_STEP = 0.002


class BatchQueue(Generic[Job, Answer]):
    """Runs a function of several jobs in a few threads of its own.

    A job that finds a thread idle starts at once. Those that come while all are busy are the next batch. So a single caller
    never waits for others, and the more callers there are, the larger are the batches.

    >>> doubles = BatchQueue(lambda numbers: [2 * number for number in numbers])
    >>> doubles.run(21)
    42
    >>> doubles.close()
    """

    def __init__(
        self,
        work: Callable[[list[Job]], list[Answer]],
        most: int = BATCH,
        threads: int = 1,
        count: Callable[[int], None] = lambda size: None,
        start: Callable[[], None] = lambda: None,
        coming: Callable[[], int] = lambda: 0,
        patience: Callable[[Job], float] = lambda job: 0.0,
    ) -> None:
        """Start the threads.

        Args:
            work: returns the answers of several jobs, in their order.
            most: jobs of one batch.
            threads: batches at a time.
            count: called with the size of each batch.
            start: called in each thread before its first batch.
            coming: returns how many jobs are about to come. While there are more jobs than cores, a batch
                waits for them.
            patience: returns the seconds for which a job may wait for others.
        """
        self._work = work
        self._most = most
        self._count = count
        self._start = start
        self._coming = coming
        self._patience = patience
        self._queue: SimpleQueue[tuple[Job, Future[Answer]] | None] = SimpleQueue()
        self._slots = Semaphore(threads)
        self._threads = [Thread(target=self._serve, daemon=True, name="pairlens batches") for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def run(self, job: Job) -> Answer:
        """Return the answer of one job, or raise what `work` raises for it."""
        future: Future[Answer] = Future()
        self._queue.put((job, future))
        return future.result()

    def run_here(self, job: Job) -> Answer:
        """Return the answer of one job as `run`, in the thread of the caller if nobody else is there: that is faster."""
        if self._is_worth_waiting(1) or not self._queue.empty() or not self._slots.acquire(blocking=False):
            return self.run(job)
        try:
            self._count(1)
            return self._work([job])[0]
        finally:
            self._slots.release()

    def close(self) -> None:
        """End the threads after the jobs that are queued already."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        self._start()
        while (entry := self._queue.get()) is not None:
            # Whoever waits here for a batch in the thread of a caller gathers what comes meanwhile.
            with self._slots:
                batch = self._gathered(entry)
                self._count(len(batch))
                self._answer(batch)

    def _gathered(self, first: tuple[Job, Future[Answer]]) -> list[tuple[Job, Future[Answer]]]:
        """Return a job with those that wait, and those that come while waiting for them is worth it."""
        batch = [first]
        end = time.monotonic() + self._patience(first[0])
        while len(batch) < self._most:
            is_waiting = self._is_worth_waiting(len(batch)) and time.monotonic() < end
            try:
                entry = self._queue.get(timeout=SECONDS_OF_A_STEP) if is_waiting else self._queue.get_nowait()
            except Empty:
                if is_waiting:
                    continue
                break
            if entry is None:
                self._queue.put(None)
                break
            batch.append(entry)
        return batch

    def _is_worth_waiting(self, here: int) -> bool:
        coming = self._coming()
        return coming > 0 and coming + here > (os.cpu_count() or 1)

    def _answer(self, batch: list[tuple[Job, Future[Answer]]]) -> None:
        try:
            answers = self._work([job for job, _ in batch])
        except BaseException as error:
            if len(batch) == 1:
                batch[0][1].set_exception(error)
                return
            # One job must not spoil the others: each is done alone, and only its own error is its answer.
            for entry in batch:
                self._answer([entry])
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            future.set_result(answer)


@dataclass(frozen=True, eq=False)
class EmbeddingJob:
    """Pixels that a model has to embed, uint8 (photo, image_size, image_size, 3)."""

    model: CollectionModel
    seen: np.ndarray


@dataclass(frozen=True, eq=False)
class BatchedModel:
    """A model whose photos are embedded together with those of other requests."""

    model: CollectionModel
    queue: BatchQueue[EmbeddingJob, np.ndarray]
    lanes: DecodingLanes

    @property
    def fingerprint(self) -> str:
        """The name of the vectors."""
        return self.model.fingerprint

    def read(self, photo: Any, box: Box | ShareBox | None = None) -> PhotoView:
        """Return a photo, or the part of it in a box, as the model sees it, once there is room for its decoding."""
        return self.lanes.run(photo if isinstance(photo, bytes) else b"", lambda: self.model.read(photo, box))

    def embed(self, seen: np.ndarray) -> np.ndarray:
        """Return float32 (photo, dim) unit vectors of uint8 (photo, image_size, image_size, 3) pixels."""
        # In parts, so that the photos of one request cannot hold up those of others.
        parts = [seen[start : start + BATCH] for start in range(0, len(seen), BATCH)]
        return np.concatenate([self.queue.run(EmbeddingJob(self.model, part)) for part in parts])


def embedding_threads() -> int:
    """Return how many batches are embedded at a time: one for each core, at most four."""
    return max(1, min(MOST_THREADS, os.cpu_count() or 1))


def share_cores() -> None:
    """Let a thread that embeds use its share of the cores; a model that runs without PyTorch has its own threads."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(share_of_cores(embedding_threads()))


def embed_jobs(jobs: list[EmbeddingJob]) -> list[np.ndarray]:
    """Return the vectors of each job; those of one model are one batch."""
    answers: dict[int, np.ndarray] = {}
    for fingerprint in dict.fromkeys(job.model.fingerprint for job in jobs):
        numbers = [n for n, job in enumerate(jobs) if job.model.fingerprint == fingerprint]
        vectors = jobs[numbers[0]].model.embed(np.concatenate([jobs[n].seen for n in numbers]))
        ends = np.cumsum([len(jobs[n].seen) for n in numbers])
        answers.update(zip(numbers, np.split(vectors, ends[:-1]), strict=True))
    return [answers[n] for n in range(len(jobs))]
