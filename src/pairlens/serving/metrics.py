"""Numbers about the server in the text format of Prometheus."""

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from threading import Lock

# Upper ends of the histogram of seconds.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_METHODS = ("GET", "HEAD", "POST", "PATCH", "DELETE")


class Metrics:
    """Counts what the process has answered."""

    def __init__(self) -> None:
        """Start from zero."""
        self._lock = Lock()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._buckets: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}
        self._batches: Counter[str] = Counter()
        self._batched: Counter[str] = Counter()

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer."""
        with self._lock:
            self._requests[method if method in _METHODS else "other", route, status] += 1
            buckets = self._buckets.setdefault(route, [0] * (len(BUCKETS) + 1))
            buckets[bisect_left(BUCKETS, seconds)] += 1
            self._seconds[route] = self._seconds.get(route, 0.0) + seconds

    def count_batch(self, name: str, size: int) -> None:
        """Count a batch of requests that were computed together."""
        with self._lock:
            self._batches[name] += 1
            self._batched[name] += size

    def text(self, gauges: Mapping[str, float]) -> str:
        r"""Return everything as text, with further numbers as they are at this moment.

        >>> Metrics().text({"photos": 3})
        '# TYPE pairlens_photos gauge\npairlens_photos{worker="..."} 3\n'
        """
        worker = f'worker="{os.getpid()}"'
        with self._lock:
            lines = [
                *_counter(
                    "requests_total",
                    ((f'method="{m}",route="{r}",status="{s}",{worker}', n) for (m, r, s), n in self._requests.items()),
                ),
                *self._histogram(worker),
                *_counter("batches_total", ((f'kind="{k}",{worker}', n) for k, n in self._batches.items())),
                *_counter("batched_requests_total", ((f'kind="{k}",{worker}', n) for k, n in self._batched.items())),
            ]
        for name, value in gauges.items():
            lines += [f"# TYPE pairlens_{name} gauge", f"pairlens_{name}{{{worker}}} {value:.10g}"]
        return "\n".join(lines) + "\n"

    def _histogram(self, worker: str) -> list[str]:
        name = "pairlens_request_seconds"
        lines = [f"# TYPE {name} histogram"] if self._buckets else []
        for route, counts in self._buckets.items():
            labels, total = f'route="{route}",{worker}', 0
            for end, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
                total += count
                lines.append(f'{name}_bucket{{{labels},le="{end}"}} {total}')
            lines += [f"{name}_sum{{{labels}}} {self._seconds[route]:.6f}", f"{name}_count{{{labels}}} {total}"]
        return lines


def _counter(name: str, values: Iterable[tuple[str, int]]) -> list[str]:
    lines = [f"pairlens_{name}{{{labels}}} {value}" for labels, value in values]
    return [f"# TYPE pairlens_{name} counter", *lines] if lines else []


def resident_bytes() -> int:
    """Return the memory that the process has in use, 0 where the system does not say it as Linux does."""
    try:
        fields = Path("/proc/self/statm").read_bytes().split()
    except OSError:
        return 0
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def open_descriptors() -> int:
    """Return the number of files and connections that the process has open, 0 where the system does not say it."""
    try:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError:
        return 0
