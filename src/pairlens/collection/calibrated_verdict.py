"""The verdict of a search: whether the collection holds the class of the query, at a stated false accept rate."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pairlens.collection.calibration import Calibration, RateThreshold
from pairlens.collection.item import Item
from pairlens.collection.match_features import NEAREST, match_features
from pairlens.collection.search import QueryVector, SearchVerdict
from pairlens.collection.store import Found, Store
from pairlens.collection.stored_calibration import DOCUMENT, read_calibration

# The means of the classes are computed again when the collection has changed, but not more often than this.
SECONDS_BETWEEN_MEANS = 5.0
USUAL_RATE = 0.05
NOT_CALIBRATED = "the collection is not calibrated; run pairlens collection calibrate"
MIXTURE = "a calibration knows single photos only, and this query is a mixture of several"


@dataclass(frozen=True)
class Opinion:
    """What is said of the results of one query; see `SearchResult`.

    Attributes:
        verdict, probability, rate, interval, reason: as those of the result.
        probabilities: of items, by id.
        label: of the best match; None if it has none, or the calibration looks at no labels.
    """

    verdict: SearchVerdict = "not calibrated"
    probability: float | None = None
    rate: float | None = None
    interval: tuple[float, float] | None = None
    reason: str = NOT_CALIBRATED
    probabilities: Mapping[int, float] = field(default_factory=dict)
    label: str | None = None

    def under_filter(self, items: Sequence[Item]) -> "Opinion":
        """Return what is said if a filter leaves only these items, best first.

        The opinion is about the nearest of all photos. If the best item that is left has the label of that one, it holds for
        this item too; else the class that it accepts is not among them. So no strange query is accepted more often.
        """
        if self.verdict == "not calibrated":
            return self
        if self.label is None:
            return Opinion(
                reason="its calibration knows no labels, without which it says nothing of a part of the photos"
            )
        if items and items[0].label == self.label:
            same = [item.id for item in items if item.label == self.label]
            return replace(self, probabilities=dict.fromkeys(same, self.probability))
        return replace(self, verdict="no match", probability=None, probabilities={})


@dataclass(frozen=True, eq=False)
class _ClassMeans:
    """The unit means of the vectors of each label, as they were at a change of the store."""

    means: np.ndarray
    number_of: Mapping[str, int]
    change: int
    computed: float


class Judge:
    """Gives the verdicts of a store; what it needs is read when it is first needed, and again when it has changed."""

    def __init__(self, store: Store) -> None:
        """Prepare for a store."""
        self.store = store
        self._contents: bytes | None = None
        self._calibration: Calibration | None = None
        self._fingerprint = ""
        self._means: _ClassMeans | None = None

    def is_calibrated(self) -> bool:
        """Return whether there is a calibration of the active model that can be read."""
        try:
            return self.calibration() is not None
        except ValueError:
            return False

    def calibration(self) -> Calibration | None:
        """Return the calibration of the active model, None if there is none; raises ValueError if it is damaged."""
        contents = self.store.document(DOCUMENT)
        models = self.store.models() if contents is not None else []
        fingerprint = models[0].fingerprint if models else ""
        # Compared as bytes, because reading a calibration takes longer than a search.
        if (contents, fingerprint) != (self._contents, self._fingerprint):
            self._calibration = read_calibration(contents, fingerprint)
            self._contents, self._fingerprint = contents, fingerprint
            self._means = None
        return self._calibration

    def judge(self, queries: Sequence[QueryVector], founds: Sequence[Found], rate: float | None) -> list[Opinion]:
        """Return what is said of the results of each query.

        Args:
            queries: what was searched for.
            founds: what was found, `NEAREST` items of each, or all if there are fewer.
            rate: the false accept rate of the verdict; None for the largest one that is at most 0.05.

        Raises:
            ValueError: if the collection is calibrated, but not for this rate.
        """
        try:
            calibration = self.calibration()
        except ValueError as error:
            # Photos can be found all the same.
            return [Opinion(reason=str(error)) for _ in queries]
        if calibration is None:
            return [Opinion() for _ in queries]
        threshold = _threshold(calibration, rate)
        return [
            self._opinion(calibration, threshold, query, found) if query.is_single else Opinion(reason=MIXTURE)
            for query, found in zip(queries, founds, strict=True)
        ]

    def _opinion(self, calibration: Calibration, threshold: RateThreshold, query: QueryVector, found: Found) -> Opinion:
        held = found.ids[0] >= 0
        ids, scores = found.ids[0, held][:NEAREST], found.scores[0, held][:NEAREST]
        if not len(ids):
            # Nothing can be a match where there is nothing.
            return Opinion("no match", 0.0, threshold.rate, (threshold.low, threshold.high), "")
        labels = {item.id: item.label for item in self.store.items(ids)}
        if calibration.labelled and len(self._class_means().number_of) < calibration.size.known_classes:
            # With fewer classes the best match of a strange query stands out more, and the stated rate would be exceeded.
            return Opinion(
                reason=f"it holds fewer than {calibration.size.known_classes} labels, for which its calibration was made"
            )
        if calibration.labelled:
            features = self._labelled_features(query, ids, scores, labels)
            if features is None:
                return Opinion(reason="its calibration needs labels, and the nearest photos have none")
        else:
            features = match_features(scores[None])
        judgement = calibration.judge(features)
        is_match = float(judgement.score[0]) > threshold.score
        probability = float(judgement.probability[0])
        # A probability is known for the best match, and with it for the other photos of its label.
        first = labels.get(int(ids[0]))
        same = [id for id, label in labels.items() if label == first and first is not None] or [int(ids[0])]
        return Opinion(
            verdict="match" if is_match else "no match",
            probability=probability,
            rate=threshold.rate,
            interval=(threshold.low, threshold.high),
            reason="",
            probabilities=dict.fromkeys(same, probability),
            label=first if calibration.labelled else None,
        )

    def _labelled_features(
        self, query: QueryVector, ids: np.ndarray, scores: np.ndarray, labels: Mapping[int, str | None]
    ) -> np.ndarray | None:
        """Return (1, feature); None if fewer than two of the items have a label that is known."""
        means = self._class_means()
        numbers = [means.number_of.get(labels.get(int(id)) or "", -1) for id in ids]
        # Photos without a label say nothing about classes.
        kept = np.array([number >= 0 for number in numbers], bool)
        if kept.sum() < 2 or not kept[0]:
            return None
        class_cosines = means.means @ query.vector
        return match_features(scores[kept][None], np.array(numbers)[kept][None], class_cosines[None])

    def _class_means(self) -> _ClassMeans:
        change = self.store.change()
        stored = self._means
        if stored is None or (stored.change != change and time.monotonic() - stored.computed > SECONDS_BETWEEN_MEANS):
            self._means = stored = _computed_means(self.store, change)
        return stored


def _threshold(calibration: Calibration, rate: float | None) -> RateThreshold:
    if rate is not None:
        return calibration.threshold(rate)
    usual = [one for one in calibration.thresholds if one.rate <= USUAL_RATE]
    return max(usual or calibration.thresholds, key=lambda one: one.rate)


def _computed_means(store: Store, change: int) -> _ClassMeans:
    rows, names = store.label_array()
    named = [name for name in names if name is not None]
    number_of = {name: number for number, name in enumerate(named)}
    # The position of a label in `names` becomes its number among those that are not missing.
    numbers = np.array([number_of.get(name or "", -1) for name in names] or [-1], np.int64)
    dim = store.models()[0].dim
    sums = np.zeros((max(1, len(named)), dim))
    for ids, vectors in store.vector_blocks():
        where = np.searchsorted(rows[:, 0], ids)
        known = (where < len(rows)) & (rows[np.minimum(where, len(rows) - 1), 0] == ids) if len(rows) else ids < 0
        of_label = np.full(len(ids), -1, np.int64)
        of_label[known] = numbers[rows[where[known], 1]]
        np.add.at(sums, of_label[of_label >= 0], vectors[of_label >= 0])
    lengths = np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return _ClassMeans((sums / lengths).astype(np.float32), number_of, change, time.monotonic())
