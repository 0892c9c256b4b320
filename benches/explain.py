"""How much faster are the curves and planes of `pairlens explain` since a loss is evaluated on many matrices at a time?

    python benches/explain.py

Each loss is explained in turn as it is, and with one matrix after another, as losses from outside still are. Writes
benches/results/explain.json.
"""

import statistics
import time
from unittest import mock

from provenance import RESULTS, about, write_result

from pairlens.analysis.explain import explain_loss
from pairlens.losses import Circle, MultiSimilarity, SmoothAP, SoftTriple, Triplet

FILE = RESULTS / "explain.json"
LOSSES = {"triplet": Triplet(), "circle": Circle(), "multi-similarity": MultiSimilarity()}
LOSSES |= {"SoftTriple": SoftTriple(), "Smooth-AP": SmoothAP()}
ROUNDS = 3


def seconds(loss: object, at_a_time: bool) -> float:
    """Return how long it takes to explain a loss."""
    with mock.patch("pairlens.losses.pair_gradient.is_own_loss", return_value=at_a_time):
        start = time.perf_counter()
        explain_loss(loss)
        return time.perf_counter() - start


def main() -> None:
    """Measure, print and store."""
    explain_loss(Triplet(), points=3)
    results = {}
    for name, loss in LOSSES.items():
        pairs = [(seconds(loss, False), seconds(loss, True)) for _ in range(ROUNDS)]
        slow, fast = (statistics.median(times) for times in zip(*pairs, strict=True))
        results[name] = {"one by one, s": slow, "many at a time, s": fast, "speed": slow / fast}
        print(f"{name}: {slow:.2f} s one by one, {fast:.2f} s many at a time, {slow / fast:.1f} x as fast")
    write_result(FILE, {"about": about(), "results": results})


if __name__ == "__main__":
    main()
