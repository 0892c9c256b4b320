"""How fast is each loss, compared with pytorch-metric-learning and with the minimum that any pairwise loss must compute?

    python benches/losses.py                       # everything: about 15 minutes on 2 cores
    python benches/losses.py --only circle         # again, into the same file

Everything runs in one process; Pairlens, the peer and the bare reference are measured alternately, so that other work on the
machine affects all of them equally. The ratios matter; a time in milliseconds is valid on one machine only. The bare
reference is normalise -> S = E E^T -> S.sum().backward() in plain autograd: three matrix products, no loss. Batches are
random vectors, four per class, D = 512. Peers with cubic cost are measured once at B = 512 and not at 2048, where they need
tens of gigabytes.
Writes benches/results/losses.json and prints the tables of docs/losses.md.
"""

import argparse
import importlib.metadata
import json
import math
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from pytorch_metric_learning import losses as pml
from pytorch_metric_learning import miners as pml_miners
from torch import Tensor, nn

import pairlens as pl
from pairlens import losses
from pairlens.losses import miners
from pairlens.losses.protocols import centers_of
from pairlens.training.criterion import Criterion

DIM, PER_CLASS, PROXY_CLASSES = 512, 4, 11_318
# Here PML uses one pair of photos per class and leaves out the others: a sixteenth of the work.
OTHER_FUNCTION = "N-pair"
RESULTS = Path(__file__).parent / "results" / "losses.json"
Step = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """A loss and its peer: functions of the number of classes that return a function of embeddings and labels."""

    name: str
    family: str
    ours: Callable[[int], nn.Module]
    peer: Callable[[int], Step] | None = None
    cubic: bool = False


def batch_loss(loss) -> Callable[[int], Criterion]:
    return lambda classes: Criterion(loss)


def proxy_loss(loss) -> Callable[[int], Criterion]:
    return lambda classes: Criterion(loss, pl.Proxies(classes, DIM, centers_of(loss)))


def mined(loss, miner) -> Callable[[int], Step]:
    return lambda classes: lambda e, y: loss(e, y, miner(e, y))


def peer(make) -> Callable[[int], Step]:
    return lambda classes: make()


def proxy_peer(make) -> Callable[[int], Step]:
    return lambda classes: make(classes, DIM)


def cases() -> list[Case]:
    pair, rank, proxy = "pair", "ranking", "proxy"
    semi = pml_miners.TripletMarginMiner(margin=0.2, type_of_triplets="semihard")
    return [
        Case("contrastive", pair, batch_loss(losses.Contrastive()), peer(pml.ContrastiveLoss)),
        Case(
            "triplet, batch-hard",
            pair,
            batch_loss(losses.Triplet()),
            mined(pml.TripletMarginLoss(), pml_miners.BatchHardMiner()),
        ),
        Case("triplet, all", pair, batch_loss(losses.AllTriplets()), peer(pml.TripletMarginLoss)),
        Case(
            "triplet, semi-hard",
            pair,
            batch_loss(losses.AllTriplets(margin=0.2, semi_hard=True)),
            mined(pml.TripletMarginLoss(margin=0.2), semi),
        ),
        Case("circle", pair, batch_loss(losses.Circle()), peer(pml.CircleLoss)),
        Case("circle, pooled", pair, batch_loss(losses.PooledCircle())),
        Case(
            "multi-similarity",
            pair,
            batch_loss(losses.MultiSimilarity()),
            mined(pml.MultiSimilarityLoss(), pml_miners.MultiSimilarityMiner()),
        ),
        Case("binomial deviance", pair, batch_loss(losses.BinomialDeviance())),
        Case("lifted structure", pair, batch_loss(losses.LiftedStructure()), peer(pml.LiftedStructureLoss), cubic=True),
        Case(
            "generalised lifted", pair, batch_loss(losses.GeneralizedLifted()), peer(pml.GeneralizedLiftedStructureLoss)
        ),
        Case("N-pair", pair, batch_loss(losses.NPair()), peer(pml.NPairsLoss)),
        Case("NT-Xent", pair, batch_loss(losses.NTXent()), peer(pml.NTXentLoss), cubic=True),
        Case("SupCon", pair, batch_loss(losses.SupCon()), peer(pml.SupConLoss)),
        Case("tuplet margin", pair, batch_loss(losses.TupletMargin()), peer(pml.TupletMarginLoss), cubic=True),
        Case("angular", pair, batch_loss(losses.Angular()), peer(pml.AngularLoss), cubic=True),
        Case(
            "ranked list",
            pair,
            batch_loss(losses.RankedList()),
            peer(lambda: pml.RankedListLoss(margin=0.4, Tn=10, Tp=0)),
        ),
        Case("margin", pair, lambda classes: Criterion(losses.Margin(), classes=classes)),
        Case(
            "margin, distance-weighted",
            pair,
            lambda classes: Criterion(losses.Margin(), miner=miners.DistanceWeighted(), classes=classes),
            lambda classes: mined(
                pml.MarginLoss(), pml_miners.DistanceWeightedMiner(cutoff=0.5, nonzero_loss_cutoff=1.4)
            )(classes),
            cubic=True,
        ),
        Case(
            "SNR contrastive",
            pair,
            batch_loss(losses.SNRContrastive()),
            peer(pml.SignalToNoiseRatioContrastiveLoss),
            cubic=True,
        ),
        Case("quadruplet", pair, batch_loss(losses.Quadruplet())),
        Case("histogram", pair, batch_loss(losses.Histogram()), peer(pml.HistogramLoss), cubic=True),
        Case("FastAP", rank, batch_loss(losses.FastAP()), peer(pml.FastAPLoss)),
        Case("Smooth-AP", rank, batch_loss(losses.SmoothAP()), lambda classes: whole_smooth_ap, cubic=True),
        Case("Recall@k", rank, batch_loss(losses.RecallAtK())),
        Case("SupAP", rank, batch_loss(losses.SupAP())),
        Case("Proxy-NCA", proxy, proxy_loss(losses.ProxyNCA()), proxy_peer(pml.ProxyNCALoss)),
        Case("Proxy-NCA++", proxy, proxy_loss(losses.ProxyNCAPlus())),
        Case("Proxy-Anchor", proxy, proxy_loss(losses.ProxyAnchor()), proxy_peer(pml.ProxyAnchorLoss)),
        Case("normalised softmax", proxy, proxy_loss(losses.NormSoftmax()), proxy_peer(pml.NormalizedSoftmaxLoss)),
        Case("CosFace", proxy, proxy_loss(losses.CosFace()), proxy_peer(pml.CosFaceLoss)),
        Case("ArcFace", proxy, proxy_loss(losses.ArcFace()), proxy_peer(pml.ArcFaceLoss)),
        Case(
            "sub-centre ArcFace",
            proxy,
            proxy_loss(losses.SubCenterArcFace()),
            proxy_peer(lambda c, d: pml.SubCenterArcFaceLoss(num_classes=c, embedding_size=d)),
        ),
        Case("SphereFace", proxy, proxy_loss(losses.SphereFace()), proxy_peer(pml.SphereFaceLoss)),
        Case(
            "SoftTriple, K = 2",
            proxy,
            proxy_loss(losses.SoftTriple(centers=2)),
            lambda classes: soft_triple_peer(classes, 2),
        ),
        Case("circle on proxies", proxy, proxy_loss(losses.Circle(0.25, 256))),
    ]


def soft_triple_peer(classes: int, centers: int) -> nn.Module:
    from pytorch_metric_learning.regularizers import SparseCentersRegularizer

    regularizer = SparseCentersRegularizer(classes, centers)
    return pml.SoftTripleLoss(
        classes, DIM, centers_per_class=centers, weight_regularizer=regularizer, weight_reg_weight=0.2
    )


def whole_smooth_ap(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Smooth-AP as it is usually written, over all triples (anchor, reference, reference).

    The SmoothAPLoss of pytorch-metric-learning is another function.
    """
    unit = nn.functional.normalize(embeddings, dim=1)
    similarity = unit @ unit.T
    positive = (labels[:, None] == labels).fill_diagonal_(False)
    others = ~torch.eye(len(labels), dtype=torch.bool)
    above = ((similarity[:, None, :] - similarity[:, :, None]) / 0.01).sigmoid()
    above = above * (others[:, None, :] & others[None, :, :])
    rank, rank_p = 1 + above.sum(2), 1 + (above * positive[:, None, :]).sum(2)
    precision = (rank_p / rank * positive).sum(1) / positive.sum(1)
    return 1 - precision.mean()


def bare(embeddings: Tensor, labels: Tensor) -> Tensor:
    unit = nn.functional.normalize(embeddings, dim=1)
    return (unit @ unit.T).sum()


def bare_proxies(classes: int) -> Step:
    vectors = torch.randn(classes, DIM, requires_grad=True)
    return lambda e, y: (nn.functional.normalize(e, dim=1) @ nn.functional.normalize(vectors, dim=1).T).sum()


def draw(size: int, classes: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(size)
    labels = torch.randperm(classes, generator=generator)[: size // PER_CLASS].repeat_interleave(PER_CLASS)
    labels = labels[torch.randperm(size, generator=generator)]
    centers = torch.randn(classes, DIM, generator=generator)
    return centers[labels] + torch.randn(size, DIM, generator=generator), labels


def seconds(step: Step, embeddings: Tensor, labels: Tensor) -> float:
    points = embeddings.clone().requires_grad_()
    start = time.perf_counter()
    step(points, labels).backward()
    return time.perf_counter() - start


def compare(steps: dict[str, Step], embeddings: Tensor, labels: Tensor, repeats: int) -> dict[str, float]:
    """Return the median duration of each step, measured alternately; a step of over 2 s is measured once after a warm-up."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(repeats + 1):
        for name, step in steps.items():
            if turn > 1 and times[name][0] > 2:
                continue
            for parameter in step.parameters() if isinstance(step, nn.Module) else ():
                parameter.grad = None
            times[name].append(seconds(step, embeddings, labels))
    return {name: statistics.median(t[1:] or t) for name, t in times.items()}


def peak_floats(step: Step, embeddings: Tensor, labels: Tensor) -> float:
    """Return the peak of the additional memory, in floats per B², from the events of the allocator."""
    points = embeddings.clone().requires_grad_()
    step(points, labels).backward()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        step(points, labels).backward()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]  # pyright: ignore
    held = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak / 4 / len(labels) ** 2


def measure_batch(case: Case, sizes: list[int], repeats: int) -> dict:
    rows = {}
    for size in sizes:
        embeddings, labels = draw(size, size // PER_CLASS)
        steps: dict[str, Step] = {"ours": case.ours(size // PER_CLASS), "bare": bare}
        if case.peer is not None and not (case.cubic and size > 512):
            steps["peer"] = case.peer(size // PER_CLASS)
        rows[size] = compare(steps, embeddings, labels, repeats if size <= 2048 else 3)
    if 2048 in sizes:
        rows["floats"] = peak_floats(case.ours(512), *draw(2048, 512))
    if {512, 4096} <= set(sizes):
        rows["slope"] = math.log(rows[4096]["ours"] / rows[512]["ours"]) / math.log(8)
    return rows


def measure_proxies(case: Case, sizes: list[int], repeats: int) -> dict:
    rows = {}
    for size in [s for s in sizes if s <= 512]:
        embeddings, labels = draw(size, PROXY_CLASSES)
        steps: dict[str, Step] = {"ours": case.ours(PROXY_CLASSES), "bare": bare_proxies(PROXY_CLASSES)}
        if case.peer is not None:
            steps["peer"] = case.peer(PROXY_CLASSES)
        rows[size] = compare(steps, embeddings, labels, min(repeats, 5))
    return rows


def ratio(row: dict[str, float] | None, above: str, below: str) -> str:
    if not row or above not in row:
        return ""
    value = row[above] / row[below]
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if above == "peer" else f"{value:.2f}"


def batch_table(results: dict) -> str:
    lines = [
        "| loss | × PML at 128 | at 512 | at 2048 | ÷ bare at 2048 | floats / B² | slope 512 → 4096 |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, rows in results.items():
        speed = [ratio(rows.get(size), "peer", "ours") for size in (128, 512, 2048)]
        extra = [f"{rows[key]:.1f}" if key in rows else "" for key in ("floats", "slope")]
        lines.append(f"| {name} | {' | '.join([*speed, ratio(rows.get(2048), 'ours', 'bare'), *extra])} |")
    return "\n".join(lines)


def proxy_table(results: dict) -> str:
    lines = ["| loss | × PML at B = 128 | at 512 | ÷ bare at 128 | at 512 |", "|---|---|---|---|---|"]
    for name, rows in results.items():
        cells = [ratio(rows.get(s), "peer", "ours") for s in (128, 512)] + [
            ratio(rows.get(s), "ours", "bare") for s in (128, 512)
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def summary(results: dict) -> str:
    lines = []
    for size in (128, 512, 2048):
        ratios = [
            rows[size]["peer"] / rows[size]["ours"]
            for name, rows in results.items()
            if "peer" in rows.get(size, {}) and name != OTHER_FUNCTION
        ]
        if ratios:
            mean = statistics.geometric_mean(ratios)
            lines.append(
                f"- B = {size}: geometric mean {mean:.1f} × PML over {len(ratios)} losses, the least {min(ratios):.1f}"
            )
    to_bare = [rows[2048]["ours"] / rows[2048]["bare"] for name, rows in results.items() if 2048 in rows]
    if to_bare:
        lines.append(f"- ÷ bare at 2048: median {statistics.median(to_bare):.2f}, the most {max(to_bare):.2f}")
    return "\n".join(lines)


def about() -> dict:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, encoding="utf-8", check=False
    ).stdout.strip()
    versions = {name: importlib.metadata.version(name) for name in ("torch", "pytorch-metric-learning")}
    return {
        "commit": commit,
        "date": time.strftime("%Y-%m-%d"),
        "threads": torch.get_num_threads(),
        "cpu": platform.machine(),
        **versions,
    }


def read_results(file: Path) -> dict[str, dict]:
    """Return the results of a file, with the sizes as numbers."""
    number = lambda rows: {int(key) if key.isdigit() else key: value for key, value in rows.items()}  # noqa: E731
    stored = json.loads(file.read_text(encoding="utf-8"))
    return {f: {name: number(rows) for name, rows in stored[f].items()} for f in stored if f != "about"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", help="names, or parts of names")
    parser.add_argument("--sizes", type=int, nargs="*", default=[128, 512, 2048, 4096])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    found: dict[str, dict] = {"pair": {}, "ranking": {}, "proxy": {}}
    if options.only and options.out.is_file():
        found = {family: rows for family, rows in read_results(options.out).items() if family in found}
    for case in cases():
        if options.only and not any(part in case.name for part in options.only):
            continue
        take = measure_proxies if case.family == "proxy" else measure_batch
        found[case.family][case.name] = take(case, options.sizes, options.repeats)
        print(case.name, json.dumps(found[case.family][case.name]), flush=True)
        options.out.parent.mkdir(exist_ok=True)
        options.out.write_text(json.dumps({"about": about(), **found}, indent=1), encoding="utf-8")
    print("\n".join(["", batch_table(found["pair"] | found["ranking"]), "", proxy_table(found["proxy"]), ""]))
    print(summary(found["pair"] | found["ranking"]))


if __name__ == "__main__":
    main()
