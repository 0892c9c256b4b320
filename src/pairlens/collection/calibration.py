"""How probable it is that the best match is of the query's class, and "no match" at a stated false accept rate."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from pairlens.collection.calibration_folds import MatchModel, probability_of
from pairlens.collection.match_features import LABELLED, UNLABELLED, Array
from pairlens.core.plain_numbers import as_finite_matrix
from pairlens.core.records import from_plain, require, to_plain

MatchVerdict: TypeAlias = Literal["match", "no match"]


@dataclass(frozen=True)
class RateThreshold:
    """The score above which a best match is accepted, and how often that happens to queries of classes that are not held.

    Attributes:
        rate: the false accept rate that was asked for.
        score: a higher score is accepted.
        measured: the false accept rate on calibration classes that the score has not seen, as the mean over classes. It is
            below the asked rate if new classes exceed their thresholds more often.
        low: lower end of the 95 % interval of the rate on as many new classes as there were calibration classes.
        high: upper end.
        true_accepts: share of the queries of held classes that are accepted with a best match of their class.
    """

    rate: float
    score: float
    measured: float
    low: float
    high: float
    true_accepts: float

    def __post_init__(self) -> None:
        require(0 < self.rate < 1, f"the asked false accept rate {self.rate} must lie between 0 and 1")
        require(math.isfinite(self.score), f"the threshold for the rate {self.rate} must be a finite score")
        ordered = 0 <= self.low <= self.measured <= self.high <= 1 and 0 <= self.true_accepts <= 1
        require(ordered, f"low, measured and high of the rate {self.rate} must be shares in this order")


@dataclass(frozen=True)
class UnsupportedRate:
    """A false accept rate that was asked for and has no threshold.

    Attributes:
        rate: the asked rate.
        reason: what is missing.
    """

    rate: float
    reason: str


@dataclass(frozen=True)
class CalibrationSize:
    """The photos that a calibration was learned from.

    Attributes:
        classes: in every division, half of them are known and the other half strange.
        photos: of these classes.
        divisions: of the classes into known and strange ones.
        known_classes: number of classes in the gallery of a division. In a collection of more classes the leads over the
            next class are smaller, so fewer queries are accepted, strange ones as well; one of fewer classes accepts more.
        strange_queries: of all divisions together; a photo is a query in half of them.
    """

    classes: int
    photos: int
    divisions: int
    known_classes: int
    strange_queries: int

    def __post_init__(self) -> None:
        counts = (self.classes, self.photos, self.divisions, self.known_classes, self.strange_queries)
        require(all(count > 0 for count in counts), "the numbers of a calibration must be above 0")


@dataclass(frozen=True)
class ReliabilityBin:
    """Queries of similar probability; a known and a strange query weigh as in `Queries.weights`.

    Attributes:
        probability: their mean probability.
        right: share whose best match is of their class.
        weight: their share of all queries.
    """

    probability: float
    right: float
    weight: float

    def __post_init__(self) -> None:
        shares = (self.probability, self.right, self.weight)
        require(all(0 <= share <= 1 for share in shares), "the values of a reliability bin must be shares")


@dataclass(frozen=True)
class MatchJudgement:
    """What a calibration says about the best matches of queries.

    Attributes:
        probability: (query,) that the best match is of the query's class, if half of all queries are of classes that are
            not held.
        score: (query,) its log-odds.
    """

    probability: Array
    score: Array


@dataclass(frozen=True)
class Calibration:
    """A score of matches with its probability and its thresholds, learned on classes that the model was not trained on.

    Attributes:
        fingerprint: of the model that embedded the photos; the calibration holds for its vectors only.
        labelled: whether the features need the labels of the items (`match_features`).
        model: the score.
        thresholds: one per supported rate.
        unsupported: the asked rates without a threshold.
        size: what it was learned from.
        reliability: ten bins of the cross-fitted probability, without the empty ones.
    """

    VERSION: ClassVar[int] = 1

    fingerprint: str
    labelled: bool
    model: MatchModel
    thresholds: tuple[RateThreshold, ...]
    unsupported: tuple[UnsupportedRate, ...]
    size: CalibrationSize
    reliability: tuple[ReliabilityBin, ...]

    def __post_init__(self) -> None:
        names = LABELLED if self.labelled else UNLABELLED
        features = len(self.model.coefficients)
        require(features == len(names), f"a calibration needs {len(names)} coefficients, not {features}")
        require(bool(self.thresholds), "a calibration needs at least one threshold")

    @property
    def expected_calibration_error(self) -> float:
        """The mean distance between probability and share of right matches, Σ weight · |probability - right|."""
        return math.fsum(one.weight * abs(one.probability - one.right) for one in self.reliability)

    def judge(self, features: Any) -> MatchJudgement:
        """Return the probability that each best match is of the query's class, and its score.

        Args:
            features: (query, feature) as `match_features` returns them.

        Raises:
            ValueError: if they are not those of this calibration, or not finite.
        """
        matrix = as_finite_matrix(features, "features", "query")
        wanted = len(self.model.coefficients)
        if matrix.shape[1] != wanted:
            raise ValueError(f"features have {matrix.shape[1]} columns, but the calibration reads {wanted}")
        score = self.model.score(matrix)
        return MatchJudgement(probability_of(score), score)

    def threshold(self, rate: float) -> RateThreshold:
        """Return the threshold of a false accept rate; raises ValueError with the reason where there is none."""
        for one in self.thresholds:
            if math.isclose(one.rate, rate):
                return one
        for missing in self.unsupported:
            if math.isclose(missing.rate, rate):
                raise ValueError(f"there is no threshold for the false accept rate {rate:g}: {missing.reason}")
        rates = ", ".join(f"{one.rate:g}" for one in self.thresholds)
        raise ValueError(f"the calibration has no false accept rate {rate}; it has {rates}")

    def verdicts(self, judgement: MatchJudgement, rate: float) -> tuple[MatchVerdict, ...]:
        """Return "match" for each query whose score exceeds the threshold of a false accept rate, otherwise "no match"."""
        threshold = self.threshold(rate).score
        return tuple("match" if score > threshold else "no match" for score in judgement.score)

    def to_plain(self) -> Any:
        """Return dicts, lists, texts and numbers for a JSON file or a database, with a version."""
        return to_plain(self)

    @classmethod
    def from_plain(cls, data: Any, where: str = "the calibration") -> "Calibration":
        """Rebuild a calibration; raises ValueError that names what is missing or wrong."""
        return from_plain(cls, data, where)
