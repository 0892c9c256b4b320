"""How fast is each loss of small batches on one thread, compared with pytorch-metric-learning?

    python benches/small_batches.py                      # about two minutes

The losses, their peers and the bare reference are those of benches/losses.py, measured alternately in one process. The time
is the processor time of the thread, which other work on the machine changes less than elapsed time; only ratios are
reported. Two kinds of batches of 32, 64 and 128 vectors, four per class: `apart`, whose classes are so far apart that no
pair is active for a loss with a margin or a miner, as late in training, and `mixed`, whose vectors do not know their class,
as at its start. Writes benches/results/small_batches.json, of which docs/claims.py makes the table of
docs/performance.md, and prints the ratios.
"""

import argparse
import json
import statistics
import time
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from losses import DIM, OTHER_FUNCTION, PER_CLASS, Case, Step, about, bare, bare_proxies, cases, draw

KINDS = ("apart", "mixed")
SIZES = (32, 64, 128)
# Proxies of as many classes as CUB-200-2011 has for training.
PROXY_CLASSES = 100
RESULTS = Path(__file__).parent / "results" / "small_batches.json"
# Losses of which the peer builds a tensor over (positive pair, negative pair), so that the ratio grows with the batch.
CUBIC = ("lifted structure", "NT-Xent", "tuplet margin")
# Their peers are no losses of pytorch-metric-learning, or another function.
NOT_COMPARED = (OTHER_FUNCTION, "Smooth-AP")


def batch(kind: str, size: int, classes: int) -> tuple[Tensor, Tensor]:
    """Return the (photo, dim) vectors and the labels of a batch."""
    apart, labels = draw(size, classes)
    if kind == "apart":
        return apart, labels
    generator = torch.Generator().manual_seed(size)
    # A common offset, so that the similarities are not all near 0.
    return 0.25 + 0.3 * torch.randn(size, DIM, generator=generator), labels


def processor_seconds(step: Step, embeddings: Tensor, labels: Tensor) -> float:
    """Return the processor time of value and gradient; autograd works in the calling thread on a CPU."""
    points = embeddings.clone().requires_grad_()
    start = time.thread_time()
    step(points, labels).backward()
    return time.thread_time() - start


def measure(case: Case, kind: str, size: int, repeats: int) -> dict[str, float]:
    """Return the median time of Pairlens, of its peer and of the bare reference, measured alternately."""
    assert case.peer is not None
    on_proxies = case.family == "proxy"
    classes = PROXY_CLASSES if on_proxies else size // PER_CLASS
    embeddings, labels = batch(kind, size, classes)
    reference = bare_proxies(classes) if on_proxies else bare
    steps: dict[str, Step] = {"ours": case.ours(classes), "peer": case.peer(classes), "bare": reference}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats + 3):
        for name, step in steps.items():
            for parameter in step.parameters() if isinstance(step, nn.Module) else ():
                parameter.grad = None
            times[name].append(processor_seconds(step, embeddings, labels))
    # The first turns fill caches.
    return {name: statistics.median(values[3:]) for name, values in times.items()}


def summarize(results: dict) -> dict:
    """Return the geometric means of peer / ours and the least ratio, by kind and size, of pairs and of proxies."""
    on_proxies = {case.name for case in cases() if case.family == "proxy"}
    found: dict = {}
    for kind in KINDS:
        for size in map(str, SIZES):
            rows = {name: kinds[kind][size] for name, kinds in results.items() if name not in NOT_COMPARED}
            every = {name: row["peer"] / row["ours"] for name, row in rows.items()}
            pairs = {name: ratio for name, ratio in every.items() if name not in on_proxies}
            others = [ratio for name, ratio in pairs.items() if name not in CUBIC]
            found[f"{kind}, {size}"] = {
                "losses": len(pairs),
                "mean": statistics.geometric_mean(pairs.values()),
                "mean without the three cubic ones": statistics.geometric_mean(others),
                "least": min(pairs.values()),
                "mean on proxies": statistics.geometric_mean([every[name] for name in every if name in on_proxies]),
                "least on proxies": min(every[name] for name in every if name in on_proxies),
            }
    return found


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", help="names of losses")
    parser.add_argument("--repeats", type=int, default=31)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    results: dict = {}
    for case in cases():
        if case.peer is None or (options.only and case.name not in options.only):
            continue
        results[case.name] = {
            kind: {str(size): measure(case, kind, size, options.repeats) for size in SIZES}
            for kind in ("apart", "mixed")
        }
        ratios = [row["peer"] / row["ours"] for sizes in results[case.name].values() for row in sizes.values()]
        print(case.name, *(f"{ratio:.2f}" for ratio in ratios), flush=True)
    if not options.only:
        stored = {"about": about(), "losses": results, "summary": summarize(results)}
        RESULTS.write_text(json.dumps(stored, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
