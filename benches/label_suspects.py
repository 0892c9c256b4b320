"""Are wrong labels found? 5 % of the labels are exchanged for random others, and the suspects are counted.

    python benches/label_suspects.py --cub RAW_CUB --cars RAW_CARS --cache data/calibration

The photos and models are those of benches/calibration.py, with the same cache: the half of the classes of CUB-200-2011 that
its head was not trained on, and the half of CARS196. Precision is the share of the suspects whose label was exchanged,
recall the share of the exchanged labels among the suspects; beside them the share whose suggested label is the right one.
Writes benches/results/label_suspects.json.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tyro
from calibration import Options, vectors_of
from provenance import RESULTS, about, write_result

from pairlens.collection.item import NewItem
from pairlens.collection.label_suspects import find_suspects
from pairlens.collection.sqlite_store import SqliteStore

SHARE, REPETITIONS = 0.05, 3
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.8)


def exchanged(labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels of which 5 % are those of another random class, and which ones these are."""
    rng = np.random.default_rng(seed)
    given, classes = labels.copy(), np.unique(labels)
    wrong = rng.permutation(len(labels))[: round(SHARE * len(labels))]
    for row in wrong:
        given[row] = rng.choice(classes[classes != labels[row]])
    return given, wrong


def measure(vectors: np.ndarray, labels: np.ndarray, seed: int) -> dict[str, object]:
    """Return precision and recall for each threshold, and the seconds of the search."""
    given, wrong = exchanged(labels, seed)
    with TemporaryDirectory() as folder:
        store = SqliteStore.create(Path(folder) / "collection.sqlite")
        store.start_model("bench", vectors.shape[1])
        items = [NewItem("", f"{n}", f"{n:064x}", label=str(label)) for n, label in enumerate(given)]
        store.add(items, vectors, "bench")
        start = time.perf_counter()
        found = find_suspects(store, min(THRESHOLDS)).suspects
        seconds = time.perf_counter() - start
        store.close()
    is_wrong = set((wrong + 1).tolist())
    rows = []
    for threshold in THRESHOLDS:
        suspects = [one for one in found if one.score >= threshold]
        hits = [one for one in suspects if one.id in is_wrong]
        right = sum(one.suggested == str(labels[one.id - 1]) for one in hits)
        rows.append(
            {
                "threshold": threshold,
                "suspects": len(suspects),
                "precision": len(hits) / max(1, len(suspects)),
                "recall": len(hits) / len(wrong),
                "right suggestion": right / max(1, len(hits)),
            }
        )
    # The beginning of the list, as a person goes through it.
    first = [one.id in is_wrong for one in found[: len(wrong)]]
    return {
        "wrong": len(wrong),
        "photos": len(labels),
        "seconds": seconds,
        "rows": rows,
        "first": float(np.mean(first)),
    }


def mean_rows(results: Sequence[dict]) -> list[dict[str, float]]:
    """Return the means of the repetitions for each threshold."""
    tables = [result["rows"] for result in results]
    return [
        {key: float(np.mean([table[n][key] for table in tables])) for key in tables[0][n]}
        for n in range(len(tables[0]))
    ]


def run(options: Options) -> None:
    """Measure every set and model, print the means, and write them."""
    results = {}
    for name, vectors, labels in vectors_of(options):
        # Of CUB the half that the head has not seen, for both models.
        half = labels >= (labels.max() + 1) // 2 if name == "CUB, backbone as it comes" else labels >= 0
        measured = [measure(vectors[half].numpy(), labels[half].numpy(), seed) for seed in range(REPETITIONS)]
        rows = mean_rows(measured)
        results[name] = {**measured[0], "rows": rows, "first": float(np.mean([one["first"] for one in measured]))}
        print(
            f"{name}: {measured[0]['photos']:,} photos, {measured[0]['seconds']:.1f} s, first {results[name]['first']:.2f}"
        )
        for row in rows:
            print("   " + "  ".join(f"{key} {value:.3g}" for key, value in row.items()))
    write_result(RESULTS / "label_suspects.json", {"about": about(), "repetitions": REPETITIONS, "results": results})


if __name__ == "__main__":
    run(tyro.cli(Options, use_underscores=True))
