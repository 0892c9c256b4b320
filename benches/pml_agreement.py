"""How different are the losses that have the name of a loss of pytorch-metric-learning but are another function?

A second table is about the losses that are the same function on classes of equal size, but that pytorch-metric-learning
averages over pairs: on the batch of uneven classes of the same file, with the average over anchors of Pairlens.

    python benches/pml_agreement.py

Prints the cosine of the two gradients on the batch of tests/losses/test_peers.py, which explains each difference. Writes
benches/results/pml_agreement.json.
"""

import sys
import warnings
from pathlib import Path

from provenance import RESULTS, about, write_result
from pytorch_metric_learning import losses as pml

from pairlens import losses as ls

TESTS = Path(__file__).resolve().parent.parent / "tests"
FILE = RESULTS / "pml_agreement.json"


def main() -> None:
    """Measure, print and store."""
    sys.path[:0] = [str(TESTS / "losses"), str(TESTS)]
    import test_peers as peers

    proxy_nca = pml.ProxyNCALoss(peers.CLASSES, peers.DIM, softmax_scale=9)
    pairs = {
        "contrastive": (peers.ours(ls.Contrastive()), peers.theirs(pml.ContrastiveLoss())),
        "all triplets": (peers.ours(ls.AllTriplets(0.1)), peers.theirs(pml.TripletMarginLoss(0.1))),
        "ranked list": (
            peers.ours(ls.RankedList()),
            peers.theirs(pml.RankedListLoss(margin=0.4, Tn=10, Tp=0, alpha=1.2)),
        ),
        "N-pair": (peers.ours(ls.NPair(0.0)), peers.theirs(pml.NPairsLoss())),
        "Proxy-NCA": (peers.ours(ls.ProxyNCA(), 1), peers.of_proxies(proxy_nca, "proxies", transposed=False)),
    }
    averaged = {
        "NT-Xent": ls.NTXent(0.07),
        "tuplet margin": ls.TupletMargin(5.73, 64),
        "angular": ls.Angular(45),
        "SNR contrastive": ls.SNRContrastive(0.2, 1.5, 0.0),
        "all triplets": ls.AllTriplets(0.3),
    }
    with warnings.catch_warnings(action="ignore"):
        cosines = {name: peers.cosine_of_gradients(*pair) for name, pair in pairs.items()}
        uneven = {
            name: peers.cosine_of_gradients(peers.ours(loss), peers.SAME[name][1], peers.UNEVEN)
            for name, loss in averaged.items()
        }
    print(cosines, uneven, sep="\n")
    result = {"gradient cosine": cosines, "gradient cosine on uneven classes": uneven}
    write_result(FILE, {"about": about("pytorch-metric-learning"), **result})


if __name__ == "__main__":
    main()
