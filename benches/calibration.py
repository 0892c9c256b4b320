"""Do the probabilities and false accept rates of a calibration hold for new classes?

    python benches/calibration.py --cub RAW_CUB --cars RAW_CARS --cache data/calibration

RAW_CUB is CUB-200-2011 as it is published, RAW_CARS a folder train/CLASS and test/CLASS of cropped photos. In every random
split, 50 classes calibrate (25 known, 25 strange), and 50 others check (25 known, 25 strange). Two embeddings: the backbone
as it comes, for which all classes are new, and a linear head on it, trained with circle loss on the training half of CUB and
checked on the other half. Vectors are stored in the cache. Writes benches/results/calibration.json and two figures into
docs/images.

    python benches/calibration.py --cub RAW_CUB --cache data/calibration --rare --splits 40

The rate 0.001 needs 5,000 photos, so 100 classes of CUB calibrate and the 100 others check it. Writes
benches/results/calibration_rare.json.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from provenance import RESULTS, about, write_result

from pairlens.collection.calibrate import calibrate, reliability_bins
from pairlens.collection.calibration import ReliabilityBin
from pairlens.collection.calibration_figures import draw_accepts, draw_reliability
from pairlens.collection.calibration_folds import false_accept_rate, probability_of
from pairlens.collection.known_and_strange import divided
from pairlens.core.similarity import unit
from pairlens.data.preparation import Preparation
from pairlens.data.prepare import prepare
from pairlens.data.sampler import PKSampler
from pairlens.evaluation.class_divisions import LabelledVectors, Queries
from pairlens.evaluation.embeddings import Embeddings, embed
from pairlens.evaluation.evaluate import evaluate
from pairlens.evaluation.open_set import auroc, balanced_accuracies, true_accepts
from pairlens.losses import Circle
from pairlens.model.backbone import Backbone
from pairlens.model.plain_backbone import PlainBackbone
from pairlens.training.criterion import Criterion

BACKBONE, IMAGE_SIZE = "efficientnet_lite0", 128
RATES, CLASSES = (0.05, 0.01), 50
RARE_RATES, RARE_CLASSES = (0.05, 0.01, 0.001), 100
# False accept rates of the curves.
GRID = tuple(np.geomspace(0.002, 0.5, 60))
IMAGES = Path(__file__).parent.parent / "docs" / "images"
HEAD_DIM, HEAD_EPOCHS, HEAD_LEARNING_RATE = 512, 10, 1e-4


@dataclass(frozen=True)
class Options:
    """Options: raw data sets, the folder of prepared photos and vectors, and the number of splits of each set and model."""

    cub: Path | None = None
    cars: Path | None = None
    cache: Path = Path("data/calibration")
    splits: int = 100
    unlabelled: bool = False
    rare: bool = False


@dataclass(frozen=True)
class Check:
    """One split: what was stated, and what the other classes showed."""

    seconds: float
    stated: tuple[tuple[float, float, float], ...]
    measured: tuple[float, ...]
    accepts: tuple[float, ...]
    raw_accepts: tuple[float, ...]
    auroc: float
    raw_auroc: float
    baks: float
    baus: float
    raw_baks: float
    calibration_error: float


def embedded(name: str, preparation: Preparation, cache: Path) -> Embeddings:
    """Return the vectors of all photos of a data set by the backbone as it comes; they are computed once."""
    file = cache / f"{name}_{BACKBONE}_{IMAGE_SIZE}.safetensors"
    if not file.is_file():
        catalog = prepare(preparation)
        model = PlainBackbone(Backbone(BACKBONE, "imagenet", "none", IMAGE_SIZE), BACKBONE, IMAGE_SIZE)
        embed(model, catalog, batch_size=64, workers=1).save(file)
    return Embeddings.load(file)


def train_head(vectors: torch.Tensor, labels: torch.Tensor) -> torch.nn.Linear:
    """Train a linear head with circle loss on the vectors of the training classes."""
    torch.manual_seed(0)
    head = torch.nn.Linear(vectors.shape[1], HEAD_DIM, bias=False)
    criterion = Criterion(Circle())
    optimizer = torch.optim.Adam(head.parameters(), lr=HEAD_LEARNING_RATE)
    sampler = PKSampler(labels, classes=32, per_class=4)
    for _ in range(HEAD_EPOCHS):
        for batch in sampler:
            optimizer.zero_grad()
            criterion(head(vectors[batch]), labels[batch]).backward()
            optimizer.step()
    return head


def vectors_of(options: Options) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """Yield name, unit vectors and labels of each data set and model; the model has seen none of the classes."""
    if options.cars is not None:
        cars = embedded("cars", Preparation("folder", options.cache, options.cars, name="cars"), options.cache)
        yield "CARS196 half, backbone as it comes", cars.vectors, cars.labels
    if options.cub is not None:
        cub = embedded("cub", Preparation("cub", options.cache, options.cub, crop_type="cropped"), options.cache)
        yield "CUB, backbone as it comes", cub.vectors, cub.labels
        # Training classes have the lower labels.
        trained = cub.labels < len(cub.class_names) // 2
        head = train_head(cub.vectors[trained], cub.labels[trained])
        with torch.inference_mode():
            vectors = unit(head(cub.vectors[~trained]))
        # A tensor of inference mode cannot take part in autograd later; its copy can.
        yield "CUB, head trained with circle loss", vectors.clone(), cub.labels[~trained]


def check_split(
    vectors: torch.Tensor,
    labels: torch.Tensor,
    seed: int,
    labelled: bool,
    classes: int = CLASSES,
    rates: tuple[float, ...] = RATES,
) -> tuple[Check, Queries, np.ndarray]:
    """Calibrate on random classes, and measure on as many others; return their queries with the scores as well."""
    rng = np.random.default_rng(seed)
    drawn = torch.from_numpy(rng.permutation(labels.unique().numpy())[: 2 * classes])
    learned = torch.isin(labels, drawn[:classes])
    start = time.process_time()
    calibration = calibrate(vectors[learned], labels[learned], BACKBONE, rates, seed, labelled)
    seconds = time.process_time() - start
    checked = torch.isin(labels, drawn[classes:])
    numbers = np.unique(labels[checked].numpy(), return_inverse=True)[1]
    known, strange = np.array_split(rng.permutation(classes), 2)
    queries = divided(LabelledVectors.of(vectors[checked].numpy(), numbers), known, strange, labelled, rng)
    judged = calibration.judge(queries.features)
    cosine = queries.features[:, 0]
    measured = tuple(false_accept_rate(queries, judged.score > calibration.threshold(r).score) for r in rates)
    accepts = [balanced_accuracies(queries, judged.score > calibration.threshold(r).score).known for r in rates]
    # The answer that is more probable, and the threshold of the cosine that rejects as many strange queries.
    likely = balanced_accuracies(queries, judged.probability > 0.5)
    weights = queries.weights()
    bins = reliability_bins(judged.probability, queries.is_right, weights)
    check = Check(
        seconds,
        tuple((one.measured, one.low, one.high) for one in calibration.thresholds),
        measured,
        tuple(accepts),
        tuple(map(float, true_accepts(queries, cosine, measured))),
        auroc(queries, judged.score),
        auroc(queries, cosine),
        likely.known,
        likely.unknown,
        float(true_accepts(queries, cosine, [1 - likely.unknown])[0]),
        sum(one.weight * abs(one.probability - one.right) for one in bins),
    )
    return check, queries, judged.score


def summary(checks: Sequence[Check], asked: Sequence[float] = RATES) -> dict[str, Any]:
    """Return the means over the splits, and in how many of them the measured rate lies in the stated interval."""
    rates = {}
    for number, rate in enumerate(asked):
        measured = np.array([check.measured[number] for check in checks])
        stated = np.array([check.stated[number] for check in checks])
        covered = (stated[:, 1] <= measured) & (measured <= stated[:, 2])
        accepts, raw = (np.mean([getattr(c, n)[number] for c in checks]) for n in ("accepts", "raw_accepts"))
        rates[f"{rate:g}"] = {
            "measured": float(measured.mean()),
            "standard deviation": float(measured.std(ddof=1)),
            "coverage": float(covered.mean()),
            "above the interval": float((measured > stated[:, 2]).mean()),
            "interval": stated[:, 1:].mean(axis=0).tolist(),
            "true accepts": float(accepts),
            "true accepts of the raw cosine": float(raw),
            "ratio": float(accepts / raw),
        }
    names = ("seconds", "auroc", "raw_auroc", "baks", "baus", "raw_baks", "calibration_error")
    means = {name: float(np.mean([getattr(check, name) for check in checks])) for name in names}
    return {"splits": len(checks), "rates": rates, **means}


def pooled_bins(parts: Sequence[tuple[Queries, np.ndarray]]) -> tuple[ReliabilityBin, ...]:
    """Return the reliability of the queries of all splits together."""
    scores = np.concatenate([scores for _, scores in parts])
    right = np.concatenate([queries.is_right for queries, _ in parts])
    weights = np.concatenate([queries.weights() for queries, _ in parts])
    return reliability_bins(probability_of(scores), right, weights)


def check_rare_rate(options: Options) -> None:
    """Measure the rate 0.001 on CUB, and store the summary."""
    name, vectors, labels = next(vectors_of(options))
    checks = []
    for seed in range(options.splits):
        checks.append(check_split(vectors, labels, seed, not options.unlabelled, RARE_CLASSES, RARE_RATES)[0])
        print(f"{seed + 1} of {options.splits}: {checks[-1].measured}", flush=True)
    results = {name: {"classes": RARE_CLASSES, **summary(checks, RARE_RATES)}}
    print(results)
    write_result(RESULTS / "calibration_rare.json", {"about": about("scikit-learn", "timm"), "results": results})


def main(options: Options) -> None:
    """Measure, print, store and draw."""
    if options.rare:
        check_rare_rate(options)
        return
    results: dict[str, Any] = {}
    bins, curves = {}, {}
    for name, vectors, labels in vectors_of(options):
        opis = evaluate(vectors, labels, recalls=(1,), metrics=("opis",))
        print(f"{name}: R@1 {opis['R@1']:.3f}, OPIS {opis['OPIS']:.5f}", flush=True)
        checks, parts, both = [], [], []
        for seed in range(options.splits):
            check, queries, scores = check_split(vectors, labels, seed, not options.unlabelled)
            print(f"\r{seed + 1} of {options.splits}", end="", flush=True)
            checks.append(check)
            parts.append((queries, scores))
            both.append([true_accepts(queries, of, GRID) for of in (scores, queries.features[:, 0])])
        results[name] = {"R@1": opis["R@1"], "OPIS": opis["OPIS"], **summary(checks)}
        bins[name] = pooled_bins(parts)
        score, cosine = np.mean(both, axis=0)
        curves[name] = (score, cosine)
        print(results[name], flush=True)
    if options.unlabelled or not results:
        return
    draw_reliability(bins, IMAGES / "calibration_reliability.png")
    draw_accepts(curves, GRID, IMAGES / "calibration_accepts.png", RATES)
    plain_bins = {name: [asdict(one) for one in found] for name, found in bins.items()}
    curves_as_lists = {name: [curve.tolist() for curve in pair] for name, pair in curves.items()}
    record = {"about": about("scikit-learn", "timm"), "results": results, "reliability": plain_bins}
    write_result(RESULTS / "calibration.json", {**record, "false accepts": list(GRID), "true accepts": curves_as_lists})


if __name__ == "__main__":
    main(tyro.cli(Options))
