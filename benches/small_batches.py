"""How fast is each loss of small batches on one thread, compared with pytorch-metric-learning?

    python benches/small_batches.py                      # about two minutes

The losses, their peers and the bare reference are those of benches/losses.py, measured alternately in one process. The time
is the processor time of the thread, which other work on the machine changes less than elapsed time; only ratios are
reported. Two kinds of batches of 32, 64 and 128 vectors, four per class: `apart`, whose classes are so far apart that no
pair is active for a loss with a margin or a miner, as late in training, and `mixed`, whose vectors do not know their class,
as at its start. Writes benches/results/small_batches.json and prints the table of docs/performance.md.
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


def ratios(results: dict, kind: str, size: int, without: tuple[str, ...] = ()) -> dict[str, float]:
    """Return peer / ours of each loss that is compared."""
    left_out = NOT_COMPARED + without
    rows = {name: kinds[kind][str(size)] for name, kinds in results.items() if name not in left_out}
    return {name: row["peer"] / row["ours"] for name, row in rows.items()}


def table(results: dict) -> str:
    """Return the table of all losses in Markdown: how many times faster than the peer."""
    heads = [f"{kind}, {size}" for kind in ("apart", "mixed") for size in SIZES]
    lines = [f"| loss | {' | '.join(heads)} |", f"|{' --- |' * (len(heads) + 1)}"]
    for name, kinds in results.items():
        cells = [kinds[kind][str(size)] for kind in ("apart", "mixed") for size in SIZES]
        speed = [f"{cell['peer'] / cell['ours']:.2f}" for cell in cells]
        lines.append(f"| {name} | {' | '.join(speed)} |")
    return "\n".join(lines)


def summary(results: dict) -> str:
    """Return the geometric means and the least ratio, in lines."""
    lines = []
    for kind in ("apart", "mixed"):
        for size in SIZES:
            every = ratios(results, kind, size)
            mean = statistics.geometric_mean(every.values())
            others = statistics.geometric_mean(ratios(results, kind, size, CUBIC).values())
            name = min(every, key=lambda loss: every[loss])
            lines.append(
                f"- {kind}, B = {size}: geometric mean {mean:.2f} × over {len(every)} losses, {others:.2f} × without the "
                f"three cubic ones; the least {every[name]:.2f} × ({name})"
            )
    return "\n".join(lines)


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
        print(case.name, flush=True)
    if not options.only:
        RESULTS.write_text(json.dumps({"about": about(), "losses": results}, indent=1), encoding="utf-8")
    print(f"\n{table(results)}\n\n{summary(results)}")


if __name__ == "__main__":
    main()
