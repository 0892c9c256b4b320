"""Reading and embedding on the machines of a Ray cluster, for millions of photos."""

from collections.abc import Iterable, Iterator
from typing import Any

from pairlens.collection.collection_model import CollectionModel, model_documents, model_from_documents
from pairlens.collection.read_photo import Asked, ReadPhoto, in_batches, read_and_embed
from pairlens.collection.store import Store
from pairlens.core.freed_memory import keep_freed_memory

# Photos of one task. A task whose process is killed is done again, so this is all that a killed process costs.
BATCH = 64
_RETRIES = 3


class RayReader:
    """Reads and embeds photos in Ray's processes; the collection is written by the process that calls."""

    def __init__(self, store: Store, model: CollectionModel, workers: int | None) -> None:
        """Prepare for the model of a store; `workers` is the number of processes, None for one for each free core.

        Raises:
            ValueError: if Ray is not installed.
        """
        try:
            import ray  # noqa: F401
        except ImportError as error:
            raise ValueError("engine ray needs the package ray: pip install 'pairlens[ray]'") from error
        self._documents = model_documents(store, model.fingerprint)
        self._workers = workers

    def __call__(self, asked: Iterable[Asked]) -> Iterator[ReadPhoto]:
        """Yield photos that were read and embedded, in their order; a process that is killed is replaced.

        Raises:
            ValueError: if a batch has ended its process several times, as a photo that takes all memory does.
        """
        import ray
        from ray.exceptions import RayActorError

        if not ray.is_initialized():
            ray.init(log_to_driver=False, configure_logging=False)
        documents = ray.put(self._documents)
        kind: Any = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=_RETRIES)(_Embedding)
        # A process without a free core would never start, and its batches would wait for ever.
        free = int(ray.available_resources().get("CPU", 1))
        workers = max(1, free if self._workers is None else min(self._workers, free))
        actors = [kind.remote(documents) for _ in range(workers)]
        try:
            yield from _in_order(ray, actors, asked)
        except RayActorError as error:
            raise ValueError(
                f"a process of Ray ended {_RETRIES + 1} times with the same photos, most likely because memory ran out; "
                "what was embedded before is in the collection"
            ) from error
        finally:
            for actor in actors:
                ray.kill(actor)


class _Embedding:
    """One of Ray's processes: it opens the model once and embeds batches."""

    def __init__(self, documents: dict[str, bytes]) -> None:
        keep_freed_memory()
        self.model = model_from_documents(documents)

    def read(self, asked: list[Asked]) -> list[ReadPhoto]:
        """Read a batch of photos and embed those that are new."""
        return read_and_embed(asked, self.model)


def _in_order(ray: Any, actors: list[Any], asked: Iterable[Asked]) -> Iterator[ReadPhoto]:
    """Give each process two batches at a time, and yield the results in the order of the batches."""
    pending: list[Any] = []
    for number, batch in enumerate(in_batches(asked, BATCH)):
        pending.append(actors[number % len(actors)].read.remote(batch))
        if len(pending) >= 2 * len(actors):
            yield from ray.get(pending.pop(0))
    for result in pending:
        yield from ray.get(result)
