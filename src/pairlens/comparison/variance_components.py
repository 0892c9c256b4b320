"""Variance components of crossed designs, such as losses × seeds: unbiased estimates with fiducial intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pairlens.comparison.findings import Estimate, VarianceRow

DRAWS = 4000
TAILS = (0.025, 0.975)
# A term of a design: the positions of the factors that vary in it.
Term = frozenset[int]


@dataclass(frozen=True)
class MeanSquare:
    """A mean square with its degrees of freedom."""

    value: float
    df: int


@dataclass(frozen=True)
class Component:
    """A component of variance as a sum of mean squares.

    Attributes:
        leading: the mean square whose expectation contains the component.
        factors: for each mean square, what it is multiplied with.
        is_fixed: whether the component is of effects that would be the same if the study was repeated, as those of two
            settings; a new loss or seed has new effects.
    """

    leading: Term
    factors: Mapping[Term, float]
    is_fixed: bool = False

    def estimate(self, squares: Mapping[Term, MeanSquare]) -> float:
        """Return the unbiased estimate, which may be negative."""
        return sum(factor * squares[term].value for term, factor in self.factors.items())


def terms_of(count: int) -> list[Term]:
    """Return every term of a design of crossed factors, those of fewer factors first.

    >>> [sorted(term) for term in terms_of(2)]
    [[0], [1], [0, 1]]
    """
    return [Term(chosen) for size in range(1, count + 1) for chosen in combinations(range(count), size)]


def mean_squares(values: np.ndarray) -> dict[Term, MeanSquare]:
    """Return the mean square of every term of a balanced crossed design with one value per cell.

    The effects of a term are the values averaged over every factor outside it and centred along every factor inside it;
    its sum of squares is that of the effects, each counted once per cell, and it has Π (levels - 1) degrees of freedom.

    Args:
        values: an array with one axis per factor, of at least two levels each.

    Raises:
        ValueError: if a factor has one level only.

    >>> squares = mean_squares(np.array([[1.0, 2.0], [3.0, 6.0]]))
    >>> squares[Term({0})], squares[Term({0, 1})]
    (MeanSquare(value=9.0, df=1), MeanSquare(value=1.0, df=1))
    """
    if min(values.shape) < 2:
        raise ValueError(f"every factor needs two levels or more, but the design is {values.shape}")
    squares = {}
    for term in terms_of(values.ndim):
        effects = values
        for axis in range(values.ndim):
            mean = effects.mean(axis=axis, keepdims=True)
            effects = effects - mean if axis in term else mean
        df = int(np.prod([values.shape[axis] - 1 for axis in term]))
        total = float((effects**2).sum()) * values.size / effects.size
        squares[term] = MeanSquare(total / df, df)
    return squares


def component_of(term: Term, levels: Sequence[int], random: Term) -> Component:
    """Return the component of a term in a mixed model, as its part of the variance of one value.

    With n values per level combination of the term T, E[MS_T] = Σ n_U σ²_U over the terms U that contain T and beyond it
    only random factors (the rule of Cornfield and Tukey, Annals of Mathematical Statistics 27, 1956). By inclusion and
    exclusion n_T σ²_T = Σ_U (-1)^|U - T| MS_U. The σ² of a fixed factor is Σ effects² / (levels - 1); the variance of a
    value whose level is drawn has levels in the place of levels - 1, so that the parts add up to the variance of one value.

    Args:
        term: the term.
        levels: the number of levels of every factor.
        random: the factors whose levels are drawn, such as losses and seeds.

    >>> component = component_of(Term({0}), (5, 3), Term({0, 1}))
    >>> {tuple(sorted(u)): round(factor, 4) for u, factor in component.factors.items()}
    {(0,): 0.3333, (0, 1): -0.3333}
    """
    count = len(levels)
    repeats = int(np.prod([levels[axis] for axis in range(count) if axis not in term]))
    share = float(np.prod([(levels[axis] - 1) / levels[axis] for axis in term - random]))
    wider = [other for other in terms_of(count) if other >= term and other - term <= random]
    factors = {other: share / repeats * (-1) ** len(other - term) for other in wider}
    return Component(term, factors, not term & random)


def variance_rows(
    squares: Mapping[Term, MeanSquare], sources: Mapping[str, Sequence[Component]]
) -> tuple[VarianceRow, ...]:
    """Return the standard deviation and the share of each source, with 95 % fiducial intervals.

    A source is a sum of components; below 0 it is shown as 0. The intervals are generalized confidence intervals
    (Hannig, Iyer and Patterson, JASA 101, 2006): each mean square is replaced by df · MS / χ² with drawn χ² of df degrees
    of freedom, and the estimates are computed again from the draws. With two mean squares and normal effects this is close
    to the exact interval of F and χ². The draws have a fixed seed.

    Args:
        squares: the mean squares of the design.
        sources: by name, the components that are shown together.
    """
    rng = np.random.default_rng(0)
    drawn = {term: square.df * square.value / rng.chisquare(square.df, DRAWS) for term, square in squares.items()}
    estimates = [sum(component.estimate(squares) for component in parts) for parts in sources.values()]
    shown = np.maximum(estimates, 0)
    # (source, draw)
    draws = np.stack([_drawn_source(parts, squares, drawn, rng) for parts in sources.values()])
    total = shown.sum()
    totals = np.maximum(draws.sum(axis=0), np.finfo(float).tiny)
    return tuple(
        VarianceRow(
            name,
            _with_interval(float(np.sqrt(variance)), np.sqrt(found)),
            _with_interval(float(variance / total) if total > 0 else 0.0, found / totals),
            estimate < 0,
        )
        for name, estimate, variance, found in zip(sources, estimates, shown, draws, strict=True)
    )


def _drawn_source(
    parts: Sequence[Component],
    squares: Mapping[Term, MeanSquare],
    drawn: Mapping[Term, np.ndarray],
    rng: np.random.Generator,
) -> np.ndarray:
    total = np.zeros(DRAWS)
    for component in parts:
        values = (
            _drawn_fixed(component, squares, drawn, rng)
            if component.is_fixed
            else sum(factor * drawn[term] for term, factor in component.factors.items())
        )
        total = total + values
    return np.maximum(total, 0)


def _drawn_fixed(
    component: Component, squares: Mapping[Term, MeanSquare], drawn: Mapping[Term, np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """Return draws of a component of fixed effects, whose mean square is a non-central χ² times its error.

    √χ'² of df degrees of freedom and non-centrality λ is about normal, with mean √(λ + df - 1) and variance 1.
    """
    leading = squares[component.leading]
    factor = component.factors[component.leading]
    others = {term: other / factor for term, other in component.factors.items() if term != component.leading}
    # The error is at least the mean square of the term with every factor, the last one.
    least = drawn[max(component.factors, key=len)] if others else np.full(DRAWS, np.finfo(float).tiny)
    error = np.maximum(-sum((other * drawn[term] for term, other in others.items()), np.zeros(DRAWS)), least)
    error = np.maximum(error, np.finfo(float).tiny)
    root = np.maximum(np.sqrt(leading.df * leading.value / error) + rng.standard_normal(DRAWS), 0)
    non_centrality = np.maximum(root**2 - (leading.df - 1), 0)
    return factor * non_centrality * error / leading.df


def _with_interval(value: float, draws: np.ndarray) -> Estimate:
    low, high = np.quantile(draws, TAILS)
    return Estimate(value, float(low), float(high))
