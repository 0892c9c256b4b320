"""Labels that the nearest photos contradict: the photos whose label is probably wrong."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pairlens.collection.searcher import is_copy
from pairlens.collection.store import Store

# The largest and the smallest number; in between, the number of other photos of the label.
MOST_NEIGHBOURS, LEAST_NEIGHBOURS = 20, 5
# Searched at first, so that enough are left without copies and photos that have no label.
_SEARCHED = 50
_QUERIES = 256
# How much more the nearest neighbours weigh: a neighbour whose cosine is lower by this much weighs 1 / e.
TEMPERATURE = 0.1
# The share of the weight of one other label from which a photo is suspected.
THRESHOLD = 0.5


@dataclass(frozen=True)
class LabelSuspect:
    """A photo whose label its neighbours contradict.

    Attributes:
        id: of the photo.
        label: that it has.
        suggested: the label that weighs most among its neighbours.
        score: the share of the weight of the suggested label, minus that of its own label; from 0 to 1.
    """

    id: int
    label: str
    suggested: str
    score: float


@dataclass(frozen=True)
class LabelSuspects:
    """The photos of a collection whose labels are suspected.

    Attributes:
        suspects: most suspicious first.
        threshold: the score from which a photo is suspected.
        labelled: the number of photos with a label, which were looked at.
        alone: how many of them are the only ones of their label, about which neighbours say nothing.
    """

    suspects: tuple[LabelSuspect, ...]
    threshold: float
    labelled: int
    alone: int


def find_suspects(store: Store, threshold: float | None = None) -> LabelSuspects:
    """Return the photos whose labels their nearest labelled photos contradict.

    With c_j the cosines of the k nearest labelled photos, copies of the photo left out, and w_j = exp((c_j - c_1) / 0.1):
    the weight of a label is the sum of the w_j of its photos, as a share of all; the score is the largest weight of another
    label, minus that of the photo's own label. k is the number of other photos of its label, but 5 to 20.

    How many suspects are right depends on the model. With 5 % of the labels exchanged and efficientnet_lite0 as it comes,
    76 % of the suspects are wrong labels on the second half of CUB-200-2011 and 43 % on half of CARS196; 25 % and 1 % of the
    wrong labels are suspected (benches/label_suspects.py). So the first of the list are worth a look, and a short list
    proves nothing.

    Args:
        store: of the collection.
        threshold: the score from which a photo is suspected; None for 0.5.

    Raises:
        ValueError: if the threshold is not between 0 and 1, or fewer than two labels are given.
    """
    least = THRESHOLD if threshold is None else threshold
    if not 0 < least <= 1:
        raise ValueError(f"the threshold {least} is no score above 0 and at most 1")
    rows, names = store.label_array()
    label_of = {id: name for id, place in rows.tolist() if (name := names[place]) is not None}
    counts = store.labels()
    if sum(label is not None for label in counts) < 2:
        raise ValueError(f"{store.name} has fewer than two labels, so none can contradict another; label photos first")
    suspects = []
    for ids, vectors in store.vector_blocks():
        is_labelled = np.array([id in label_of for id in ids.tolist()], bool)
        chosen, queries = ids[is_labelled], vectors[is_labelled]
        for start in range(0, len(chosen), _QUERIES):
            part = slice(start, start + _QUERIES)
            suspects += _of_block(store, chosen[part], queries[part], label_of, counts, least)
    alone = sum(counts[label] == 1 for label in set(label_of.values()))
    found = [one for one in suspects if counts[one.label] > 1]
    return LabelSuspects(tuple(sorted(found, key=lambda one: (-one.score, one.id))), least, len(label_of), alone)


def _of_block(
    store: Store,
    ids: np.ndarray,
    vectors: np.ndarray,
    label_of: Mapping[int, str],
    counts: Mapping[str | None, int],
    least: float,
) -> list[LabelSuspect]:
    suspects = []
    pending, searched = np.arange(len(ids)), _SEARCHED
    while len(pending):
        found = store.search(vectors[pending], searched)
        is_all = searched >= store.count()
        held = store.items(np.unique(np.append(found.ids[found.ids >= 0], ids[pending])))
        items = {item.id: item for item in held}
        again = []
        for row, n in enumerate(pending.tolist()):
            own = items.get(int(ids[n]))
            if own is None:
                # Another process has removed it.
                continue
            wanted = min(MOST_NEIGHBOURS, max(LEAST_NEIGHBOURS, counts[label_of[own.id]] - 1))
            near = [
                (label_of[id], score)
                for id, score in zip(found.ids[row].tolist(), found.scores[row].tolist(), strict=True)
                if id in label_of and id in items and id != own.id and not is_copy(items[id], own)
            ][:wanted]
            if len(near) < wanted and not is_all:
                again.append(n)
            elif near and (suspect := _suspect(own.id, label_of[own.id], near)).score >= least:
                suspects.append(suspect)
        # Photos with many copies, or beside many without a label, are searched for further down.
        pending, searched = np.array(again, np.int64), 4 * searched
    return suspects


def _suspect(id: int, label: str, near: list[tuple[str, float]]) -> LabelSuspect:
    weights: dict[str, float] = defaultdict(float)
    best = near[0][1]
    for other, cosine in near:
        weights[other] += float(np.exp((cosine - best) / TEMPERATURE))
    total = sum(weights.values())
    own = weights.pop(label, 0.0)
    if not weights:
        return LabelSuspect(id, label, label, 0.0)
    suggested = max(weights, key=lambda name: (weights[name], name))
    return LabelSuspect(id, label, suggested, max(0.0, (weights[suggested] - own) / total))
