"""Verdicts: the results of a comparison in sentences that claim no more than the data supports."""

from collections import Counter
from collections.abc import Sequence

from pairlens.comparison.results import BenchmarkResult, LossResult, PostResult, Results
from pairlens.core.table import decimal
from pairlens.evaluation.evaluate import class_words, percent
from pairlens.evaluation.intervals import Interval, t_interval
from pairlens.experiments.outcome import baseline_noun

# A headline names at most two losses on each side, and gives the number of more.
MAX_NAMED = 2
# So many benchmarks are named in a headline; of more it gives the numbers, and the sentences below it name them.
MAX_BENCHMARKS_NAMED = 3


def verdict(result: BenchmarkResult) -> str:
    """Return what can be said about the losses of a benchmark.

    A loss is called better than another only if two intervals of their difference lie above 0: Student's interval over
    the seeds, and the bootstrap interval over the test classes. The level of both is such that the comparisons of the
    truly best loss with each of the others hold together with 95 %. Which loss that is need not be known: it is then not
    among those that are called worse than the one with the highest mean, so the losses that are "not distinguishable"
    from it, and it itself, contain the best one (multiple comparisons with the best). The level does not cover every
    statement about two other losses at once.

    Source: Hsu, "Simultaneous Confidence Intervals for all Distances from the 'Best'", Annals of Statistics 9 (5), 1981;
    here with Bonferroni's level and intervals of both sides, which are wider.
    """
    sentences = [_best(result), *_seen_classes(result), _against_baselines(result), _against_other_losses(result)]
    sentences += _after_post(result)
    if result.missing:
        sentences.append(f"{_runs(result.missing)} not finished yet, so this may change.")
    failed = sum(len(loss.failed) for loss in result.losses)
    if failed:
        sentences.append(f"{_runs(failed)} left out, because the loss became infinite or NaN.")
    sentences += [
        f"{one.name} has no result: it became infinite or NaN with every seed." for one in result.failed_losses
    ]
    return " ".join(sentences)


def _seen_classes(result: BenchmarkResult) -> list[str]:
    # Unseen classes are the usual case and need no sentence.
    sentences = {
        "some": "Some of the test classes were seen in training, with other photos.",
        "all": "The test classes were seen in training, with other photos.",
    }
    only = []
    if result.one_class:
        only = ["There is one test class only, so every figure is 100 % by construction."]
    elif result.classes == 1:
        only = ["All queries are of one class, which says nothing about other classes."]
    return [*only, sentences[result.seen_classes]] if result.seen_classes in sentences else only


def headline(result: BenchmarkResult) -> str:
    """Return the verdict on a benchmark in one sentence, without its full stop."""
    best = result.losses[0]
    others = result.losses[1:]
    mean = best.metric(result.metric).over_seeds.mean
    # Retrieval of seen classes is easier, so the headline names it; unseen classes are the usual case.
    seen = "" if result.seen_classes == "none" else f" ({class_words(result.seen_classes)})"
    where = f"So far, on {result.name}{seen}" if result.missing else f"On {result.name}{seen}"
    # If training makes the model worse, which loss makes it least so is no headline.
    name, baseline = result.better_baseline
    if mean <= baseline.mean:
        return f"{where}, no loss improves on the {baseline_noun(name)}"
    lead = f"{where}, {best.name} has the highest {result.metric}, {percent(mean)} %"
    if len(best.seeds) == 1:
        return f"{lead}, but one seed is not enough to tell whether it is better"
    if not others:
        return f"{lead}; there is no other loss to compare with"
    worse, similar, better = _compared_with_best(result)
    if better:
        return f"{lead}, but {_named(better)} {_is(better)} better on the seeds that both have finished"
    if not worse:
        return f"{lead}, but with {len(best.seeds)} seeds it is not distinguishable from any other loss"
    if similar:
        return f"{lead}: better than {_named(worse)}, not distinguishable from {_named(similar)}"
    beaten = "the other loss" if len(worse) == 1 else "all other losses"
    return f"{where}, {best.name} retrieves best: better than {beaten}"


def headline_of_all(results: Sequence[BenchmarkResult]) -> str:
    """Return in one sentence which loss is best on which of several benchmarks, without the full stop."""
    improved = [r for r in results if r.losses[0].metric(r.metric).over_seeds.mean > r.better_baseline[1].mean]
    if not improved:
        # The benchmarks may have different backbones, so each better baseline is named once.
        names = " or ".join(dict.fromkeys(f"the {baseline_noun(r.better_baseline[0])}" for r in results))
        return f"On none of the {len(results)} benchmarks does any loss improve on {names}"
    # A loss is best on a benchmark only if it improves the model there.
    best = {result.losses[0].name for result in improved}
    if len(best) == 1 and len(improved) == len(results):
        return f"{best.pop()} has the highest {results[0].metric} on all {len(results)} benchmarks"
    names = [r.losses[0].name if r in improved else "no loss" for r in results]
    if len(results) > MAX_BENCHMARKS_NAMED:
        counted = ", ".join(f"{name} on {count}" for name, count in Counter(names).most_common())
        return f"No loss has the highest {results[0].metric} on all {len(results)} benchmarks: {counted}"
    parts = [f"{name} on {r.name}" for name, r in zip(names, results, strict=True)]
    return f"No loss has the highest {results[0].metric} everywhere: {'; '.join(parts)}"


def without_result(results: Results) -> list[str]:
    """Return a sentence for each benchmark that has no result."""
    return [f"There is no result on {name}: every loss became infinite or NaN." for name in results.failed]


def _named(losses: Sequence[LossResult]) -> str:
    return listed(losses) if len(losses) <= MAX_NAMED else f"{len(losses)} others"


def _best(result: BenchmarkResult) -> str:
    best = result.losses[0]
    over_seeds = best.metric(result.metric).over_seeds
    return f"Highest mean {result.metric} on {result.name}: {best.name} with {interval_text(over_seeds)}."


def interval_text(interval: Interval) -> str:
    """Return a mean in percent with its interval over the seeds.

    >>> interval_text(t_interval([0.24, 0.26]))
    '25.0 % (95 % interval over 2 seeds: 12.3 to 37.7)'
    """
    if interval.low is None:
        return f"{percent(interval.mean)} % (one seed)"
    ends = f"{percent(interval.low)} to {percent(interval.high)}"
    return f"{percent(interval.mean)} % (95 % interval over {len(interval.values)} seeds: {ends})"


def _against_baselines(result: BenchmarkResult) -> str:
    """Compare the best loss with the better baseline: the backbone as it comes, or the model before training."""
    name, baseline = result.better_baseline
    noun = f"the {baseline_noun(name)}"
    value = f"{percent(baseline.mean)} %"
    best = result.losses[0]
    over_seeds = best.metric(result.metric).over_seeds
    if over_seeds.mean <= baseline.mean:
        return f"No loss improves on {noun}, which has {value}."
    # A baseline has one value for each seed that some loss has finished, in the order of the seeds.
    seeds = sorted({seed for loss in result.losses for seed in loss.seeds})
    by_seed = dict(zip(seeds, baseline.values, strict=True)) if len(baseline.values) == len(seeds) else {}
    gains = [
        after - by_seed[seed] for seed, after in zip(best.seeds, over_seeds.values, strict=True) if seed in by_seed
    ]
    # Both values of a gain have the same seed, so the interval is that of paired differences.
    if len(gains) > 1 and not t_interval(gains).excludes_zero:
        return f"{best.name} is not distinguishable from {noun}, which has {value}."
    values = [f"the {baseline_noun(other)} has {percent(interval.mean)} %" for other, interval in result.baselines]
    sentence = ", ".join(values)
    return f"{sentence[0].upper()}{sentence[1:]}."


def _after_post(result: BenchmarkResult) -> list[str]:
    """Return which loss is best after post-processing, and what the backbone as it comes has then."""
    names = {loss.name for loss in result.losses}
    losses = [post for post in result.post if post.name in names]
    if not losses:
        return []
    best = max(losses, key=lambda post: post.metric(result.metric).over_seeds.mean)
    found = [f"{best.name} has the highest {result.metric}, {_gained(result, best)}"]
    found += [f"the {post.name} {_gained(result, post)}" for post in result.post if post.name not in names]
    return [f"After {result.post_name}, {'; '.join(found)}."]


def _gained(result: BenchmarkResult, post: PostResult) -> str:
    gain = decimal(100 * post.over_seeds.mean, 1, signed=True)
    return f"{percent(post.metric(result.metric).over_seeds.mean)} % ({gain} points)"


def _against_other_losses(result: BenchmarkResult) -> str:
    best = result.losses[0]
    if len(result.losses) == 1:
        return "There is no other loss to compare with yet."
    if len(best.seeds) == 1:
        return (
            f"One seed does not show the effect of chance, so whether {best.name} is better is unknown; run more seeds."
        )
    worse, similar, better = _compared_with_best(result)
    if better:
        return f"On the seeds that both have finished, {listed(better)} {_is(better)} better than {best.name}."
    if not worse:
        return (
            f"With these {len(best.seeds)} seeds and {result.classes} test classes, {best.name} is not distinguishable from "
            "any other loss."
        )
    if similar:
        return f"{best.name} is better than {listed(worse)}; not distinguishable from {listed(similar)}."
    return f"{best.name} is better than every other loss: {listed(worse)}."


def _compared_with_best(result: BenchmarkResult) -> tuple[list[LossResult], list[LossResult], list[LossResult]]:
    """Return the losses that are distinguishably worse than the one with the highest mean, not distinguishable, or better.

    A loss can be better although its mean is lower if some of its seeds failed or are missing.
    """
    best = result.losses[0]
    distinguishable = {(d.first, d.second) for d in result.differences if d.distinguishable}
    others = result.losses[1:]
    worse = [other for other in others if (best.name, other.name) in distinguishable]
    better = [other for other in others if (other.name, best.name) in distinguishable]
    return worse, [other for other in others if other not in worse and other not in better], better


def _is(losses: Sequence[LossResult]) -> str:
    return "is" if len(losses) == 1 else "are"


def listed(losses: Sequence[LossResult]) -> str:
    """Return the names of losses as a list within a sentence.

    >>> listed([])
    ''
    """
    names = [loss.name for loss in losses]
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def pair_verdict(result: BenchmarkResult, first: str, second: str) -> str:
    """Return how two losses compare, in one sentence.

    Raises:
        KeyError: if they were not compared.
    """
    difference = result.difference(first, second)
    if not difference.distinguishable:
        return f"{difference.first} and {difference.second} are not distinguishable on {result.name} by {difference.metric}."
    points = f"{100 * difference.over_seeds.mean:.1f} points of {difference.metric}"
    return f"{difference.first} is better than {difference.second} on {result.name} by {points}."


def _runs(count: int) -> str:
    return "1 run is" if count == 1 else f"{count} runs are"
