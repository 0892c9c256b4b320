"""What does a `Criterion` cost at B = 128, beside an earlier version of Pairlens?

    python benches/criterion_cost.py --before FOLDER

FOLDER holds the source of the earlier version (a git worktree). Both versions run in processes of their own, in turns, on
one thread. The time is that of the processor, because elapsed time depends on what else the machine does.
"""

import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benches" / "results" / "criterion_cost.json"
LOSSES = ("Circle", "Triplet", "MultiSimilarity", "NPair", "ProxyAnchor")

# Runs in a process of its own: it prints the processor seconds of one forward and backward pass for each loss.
MEASURE = """
import json, sys, time, torch
import pairlens as pl
torch.set_num_threads(1)
torch.manual_seed(0)
embeddings = torch.randn(128, 512, requires_grad=True)
labels = torch.arange(32).repeat_interleave(4)
found = {}
for name in sys.argv[1].split(","):
    loss = getattr(pl.losses, name)()
    references = pl.Proxies(32, 512) if name.startswith("Proxy") else None
    criterion = pl.Criterion(loss, references)
    best = float("inf")
    for number in range(120):
        start = time.process_time_ns()
        for _ in range(5):
            criterion(embeddings, labels).backward()
        if number > 20:
            best = min(best, (time.process_time_ns() - start) / 5e9)
    found[name] = best
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Options:
    """What is measured.

    Attributes:
        before: folder of the earlier version.
        turns: how often each version is measured.
    """

    before: Path
    turns: int = 7


def measure(source: Path) -> dict[str, float]:
    """Return the processor seconds of a forward and a backward pass by the name of the loss, least of 100."""
    environment = {**os.environ, "PYTHONPATH": str(source / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", MEASURE, ",".join(LOSSES)]
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=True)
    return json.loads(done.stdout)


def main(options: Options) -> None:
    """Measure both versions in turns; print and store the medians and their ratios."""
    turns = [(measure(options.before), measure(ROOT)) for _ in range(options.turns)]
    rows = {}
    for name in LOSSES:
        before = statistics.median(turn[0][name] for turn in turns)
        after = statistics.median(turn[1][name] for turn in turns)
        # Paired in each turn, so that a slower minute of the machine is in both.
        ratio = statistics.median(turn[1][name] / turn[0][name] for turn in turns)
        rows[name] = {"before": before, "after": after, "ratio": ratio}
        sys.stdout.write(f"{name:16} {1e6 * before:7.0f} µs before {1e6 * after:7.0f} µs now, ratio {ratio:.3f}\n")
    RESULTS.write_text(json.dumps({"turns": options.turns, "losses": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Options))
