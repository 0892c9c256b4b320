"""What a comparison says, in words: also when it says nothing."""

from collections.abc import Sequence

from pairlens.comparison.results import BenchmarkResult, LossResult
from pairlens.evaluation.evaluate import percent
from pairlens.evaluation.intervals import Interval, t_interval

MOST_NAMED = 2


def verdict(field: BenchmarkResult) -> str:
    """Return what the seeds and the test classes allow to say of the losses of a field.

    A loss is called better only if two intervals of the difference lie above 0: Student's over the seeds, and that over
    the test classes drawn anew; both at a level at which all comparisons with the best hold together with 95 %.
    """
    sentences = [_best(field), _against_untrained(field), _against_others(field)]
    if field.missing:
        sentences.append(f"{_runs(field.missing)} not finished yet, so this may change.")
    failed = sum(len(loss.failed) for loss in field.losses)
    if failed:
        sentences.append(f"{_runs(failed)} left out, because the loss was no longer finite.")
    return " ".join(sentence for sentence in sentences if sentence)


def headline(field: BenchmarkResult) -> str:
    """Return the verdict on a field in one sentence, fit for a heading."""
    best, others = field.losses[0], field.losses[1:]
    where, found = f"On {field.name}", best.metric(field.metric).over_seeds
    so_far = "So far, " + where[0].lower() + where[1:] if field.missing else where
    if found.mean <= field.untrained.mean:
        return f"{so_far} no training beats the backbone as it came"
    lead = f"{so_far} {best.name} has the highest {field.metric}, {percent(found.mean)} %"
    if len(best.seeds) == 1:
        return f"{lead}, but one seed cannot tell whether it is better"
    if not others:
        return f"{lead}; there is no other loss to compare with"
    worse = [other for other in others if _apart(field, best, other)]
    if not worse:
        return f"{lead}, but {len(best.seeds)} seeds cannot tell it from any other loss"
    if len(worse) == len(others):
        return (
            f"{so_far} {best.name} retrieves best: above {'the other loss' if len(worse) == 1 else 'all other losses'}"
        )
    open_ = [other for other in others if other not in worse]
    return f"{lead}: above {_named(worse)}, not distinguishable from {_named(open_)}"


def headline_of_all(fields: Sequence[BenchmarkResult]) -> str:
    """Return in one sentence which loss is highest where, for several fields."""
    won = [f for f in fields if f.losses[0].metric(f.metric).over_seeds.mean > f.untrained.mean]
    if not won:
        return f"In none of {len(fields)} fields does any training beat the backbone as it came"
    best = dict.fromkeys(f.losses[0].name for f in won)
    if len(best) == 1 and len(won) == len(fields):
        return f"{next(iter(best))} has the highest {fields[0].metric} in all {len(fields)} fields"
    where = [f"{f.losses[0].name} on {f.name}" if f in won else f"no training on {f.name}" for f in fields]
    return f"No loss is highest everywhere: {'; '.join(where)}"


def _named(losses: Sequence[LossResult]) -> str:
    return listed(losses) if len(losses) <= MOST_NAMED else f"{len(losses)} others"


def _best(field: BenchmarkResult) -> str:
    best = field.losses[0]
    found = best.metric(field.metric).over_seeds
    return f"Highest mean {field.metric} on {field.name}: {best.name} with {interval_text(found)}."


def interval_text(found: Interval) -> str:
    """Write a mean in percent with its interval over the seeds.

    >>> interval_text(t_interval([0.24, 0.26]))
    '25.0 % (95 % over 2 seeds: 12.3 to 37.7)'
    """
    if found.low is None:
        return f"{percent(found.mean)} % (one seed)"
    return (
        f"{percent(found.mean)} % (95 % over {len(found.values)} seeds: {percent(found.low)} to {percent(found.high)})"
    )


def _against_untrained(field: BenchmarkResult) -> str:
    before, best = field.untrained.mean, field.losses[0].metric(field.metric).over_seeds
    if best.mean <= before:
        return f"No training beats the backbone as it came, which has {percent(before)} %."
    seeds = field.losses[0].seeds
    known = dict(enumerate(field.untrained.values)) if len(field.untrained.values) > max(seeds) else {}
    paired = [value - known[seed] for seed, value in zip(seeds, best.values, strict=True) if seed in known]
    if len(paired) > 1 and not t_interval(paired).excludes_zero:
        return f"It cannot be told from the backbone as it came ({percent(before)} %)."
    return f"The backbone as it came has {percent(before)} %."


def _against_others(field: BenchmarkResult) -> str:
    best, others = field.losses[0], field.losses[1:]
    if not others:
        return "There is no other loss to compare with yet."
    if len(best.seeds) == 1:
        return "One seed says nothing of chance: whether this loss is better cannot be told; run more seeds."
    worse = [o for o in others if _apart(field, best, o)]
    open_ = [o for o in others if o not in worse]
    if not worse:
        return f"These {len(best.seeds)} seeds and {field.classes} test classes cannot tell it from any other loss."
    text = f"It is better than {listed(worse)}"
    return f"{text}; not distinguishable from {listed(open_)}." if open_ else f"{text}, which are all others."


def _apart(field: BenchmarkResult, best: LossResult, other: LossResult) -> bool:
    try:
        return field.difference(best.name, other.name).distinguishable
    except KeyError:
        return False


def listed(losses: Sequence[LossResult]) -> str:
    """Write names as a sentence does.

    >>> listed([])
    ''
    """
    names = [loss.name for loss in losses]
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def pair_verdict(field: BenchmarkResult, first: str, second: str) -> str:
    """Return how two losses compare, in words.

    Raises:
        KeyError: if they were not compared.
    """
    found = field.difference(first, second)
    if not found.distinguishable:
        return f"{found.first} and {found.second} are not distinguishable on {field.name} by {found.metric}."
    points = f"{100 * found.over_seeds.mean:.1f} points of {found.metric}"
    return f"{found.first} is better than {found.second} on {field.name} by {points}."


def _runs(count: int) -> str:
    return "1 run is" if count == 1 else f"{count} runs are"
