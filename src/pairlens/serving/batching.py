"""Requests that arrive together are computed as one batch, by one thread that never waits for more of them."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeVar

import numpy as np

from pairlens.collection.collection_model import CollectionModel
from pairlens.collection.photo_view import PhotoView
from pairlens.core.boxes import Box, ShareBox
from pairlens.serving.decoding_lanes import DecodingLanes

Job = TypeVar("Job")
Answer = TypeVar("Answer")
BATCH = 32


class BatchQueue(Generic[Job, Answer]):
    """Runs a function of several jobs in a thread of its own.

    A job that finds the thread idle starts at once. Those that come while it is busy are the next batch. So a single caller
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
        count: Callable[[int], None] = lambda size: None,
    ) -> None:
        """Start the thread.

        Args:
            work: returns the answers of several jobs, in their order.
            most: jobs of one batch.
            count: called with the size of each batch.
        """
        self._work = work
        self._most = most
        self._count = count
        self._queue: SimpleQueue[tuple[Job, Future[Answer]] | None] = SimpleQueue()
        self._thread = Thread(target=self._serve, daemon=True, name="pairlens batches")
        self._thread.start()

    def run(self, job: Job) -> Answer:
        """Return the answer of one job, or raise what `work` raises for it."""
        future: Future[Answer] = Future()
        self._queue.put((job, future))
        return future.result()

    def close(self) -> None:
        """End the thread after the jobs that are queued already."""
        self._queue.put(None)
        self._thread.join()

    def _serve(self) -> None:
        while (entry := self._queue.get()) is not None:
            batch = [entry]
            while len(batch) < self._most:
                try:
                    further = self._queue.get_nowait()
                except Empty:
                    break
                if further is None:
                    self._queue.put(None)
                    break
                batch.append(further)
            self._count(len(batch))
            self._answer(batch)

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
        with self.lanes.decoding(photo if isinstance(photo, bytes) else b""):
            return self.model.read(photo, box)

    def embed(self, seen: np.ndarray) -> np.ndarray:
        """Return float32 (photo, dim) unit vectors of uint8 (photo, image_size, image_size, 3) pixels."""
        # In parts, so that the photos of one request cannot hold up those of others.
        parts = [seen[start : start + BATCH] for start in range(0, len(seen), BATCH)]
        return np.concatenate([self.queue.run(EmbeddingJob(self.model, part)) for part in parts])


def embed_jobs(jobs: list[EmbeddingJob]) -> list[np.ndarray]:
    """Return the vectors of each job; those of one model are one batch."""
    answers: dict[int, np.ndarray] = {}
    for fingerprint in dict.fromkeys(job.model.fingerprint for job in jobs):
        numbers = [n for n, job in enumerate(jobs) if job.model.fingerprint == fingerprint]
        vectors = jobs[numbers[0]].model.embed(np.concatenate([jobs[n].seen for n in numbers]))
        ends = np.cumsum([len(jobs[n].seen) for n in numbers])
        answers.update(zip(numbers, np.split(vectors, ends[:-1]), strict=True))
    return [answers[n] for n in range(len(jobs))]
