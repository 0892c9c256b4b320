"""The tables of a comparison: Markdown, LaTeX, and CSV with every number."""

from collections.abc import Iterator
from pathlib import Path

from pairlens.comparison.findings_tables import findings_tables
from pairlens.comparison.findings_verdict import findings_sentences
from pairlens.comparison.results import BenchmarkResult, LossResult, PostResult, Results
from pairlens.comparison.verdicts import verdict, without_result
from pairlens.core.files import write_text
from pairlens.core.table import Table, decimal
from pairlens.evaluation.evaluate import percent
from pairlens.evaluation.intervals import Interval

NOTE = (
    "Percent; mean ± half of the 95 % t-interval over seeds. Bold: the highest mean, and every loss that is not "
    "distinguishable from it by {metric}. In brackets: 95 % interval of {metric} over the test classes (bootstrap)."
)
POST_NOTE = (
    "The same runs measured again after {post}, percent; the gain in {metric} is in points, with its paired 95 % intervals "
    "over seeds (t) and over test classes (bootstrap)."
)


def comparison_table(result: BenchmarkResult) -> Table:
    """Return one row per loss, the highest mean first, and last one row per baseline."""
    return Table(
        title=f"Losses on {result.name}, best first",
        header=header(result),
        rows=rows(result),
        notes=(NOTE.format(metric=result.metric),),
        bold=frozenset(loss.name for loss in result.losses if stands_out(result, loss)),
    )


def post_table(result: BenchmarkResult) -> Table | None:
    """Return one row per loss after post-processing, with what the ranking metric gains; None if it was not asked for."""
    if not result.post:
        return None
    metrics = [metric.name for metric in result.post[0].metrics]
    gained = [f"{result.metric} gains", "over seeds", "over classes"]
    return Table(
        title=f"After {result.post_name}, on {result.name}",
        header=["loss", *metrics, *gained, "seeds"],
        rows=[_post_row(result, post) for post in result.post],
        notes=(POST_NOTE.format(metric=result.metric, post=result.post_name),),
    )


def _post_row(result: BenchmarkResult, post: PostResult) -> list[str]:
    gain, decimals = post.over_seeds, post.metric(result.metric).decimals
    over_seeds = "one seed" if gain.low is None or gain.high is None else _ends(gain.low, gain.high, decimals)
    return [
        post.name,
        *(plus_minus(metric.over_seeds, metric.decimals) for metric in post.metrics),
        decimal(100 * gain.mean, decimals, signed=True),
        over_seeds,
        _ends(post.class_low, post.class_high, decimals),
        str(len(gain.values)),
    ]


def _ends(low: float, high: float, decimals: int) -> str:
    return f"[{decimal(100 * low, decimals, signed=True)}, {decimal(100 * high, decimals, signed=True)}]"


def header(result: BenchmarkResult) -> list[str]:
    """Return the names of the columns."""
    metrics = [metric.name for metric in result.losses[0].metrics]
    return ["loss", *metrics, f"{result.metric} over classes", "mean s_p", "mean s_n", "seconds", "seeds"]


def rows(result: BenchmarkResult) -> list[list[str]]:
    """Return the cells of `comparison_table`."""
    metrics = [metric.name for metric in result.losses[0].metrics]
    losses = [_loss_row(result, loss) for loss in result.losses]
    decimals = {metric.name: metric.decimals for metric in result.losses[0].metrics}
    # Results of earlier versions hold only the ranking metric of the baselines; post-processing has no further metrics.
    found = {name: {result.metric: interval} for name, interval in result.baselines}
    found |= {baseline.name: baseline.metrics for baseline in result.baseline_results}
    for name, measured in found.items():
        cells = [plus_minus(measured[metric], decimals[metric]) if metric in measured else "" for metric in metrics]
        losses.append([name, *cells, "", "", "", "", str(len(measured[result.metric].values))])
    return losses


def _loss_row(result: BenchmarkResult, loss: LossResult) -> list[str]:
    ranked = loss.metric(result.metric)
    return [
        loss.name,
        # All losses have the same metrics in the same order, those of the header.
        *(plus_minus(metric.over_seeds, metric.decimals) for metric in loss.metrics),
        f"[{percent(ranked.class_low, ranked.decimals)}, {percent(ranked.class_high, ranked.decimals)}]",
        _mean_cosine(loss.mean_s_p),
        _mean_cosine(loss.mean_s_n),
        f"{loss.seconds.mean:.0f}",
        str(len(loss.seeds)),
    ]


def _mean_cosine(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.mean:.3f}"


def plus_minus(interval: Interval, decimals: int = 1) -> str:
    """Return a mean in percent with half of its interval.

    >>> plus_minus(Interval(0.25, 0.24, 0.26, (0.25, 0.25)))
    '25.0 ± 1.0'
    """
    if interval.low is None:
        return percent(interval.mean, decimals)
    return f"{percent(interval.mean, decimals)} ± {percent(interval.mean - interval.low, decimals)}"


def stands_out(result: BenchmarkResult, loss: LossResult) -> bool:
    """Return whether a loss has the highest mean, or is not distinguishable from the loss that has it."""
    # The losses are ordered by their means.
    best = result.losses[0]
    pair = (best.name, loss.name)
    return loss is best or not any(d.distinguishable for d in result.differences if (d.first, d.second) == pair)


def markdown(results: Results) -> str:
    """Return every benchmark as a Markdown table below its verdict, and then what the study shows as a whole."""
    sections = [*(f"{text}\n" for text in without_result(results)), *map(_markdown_section, results.fields)]
    metric = results.fields[0].metric
    sentences, tables = findings_sentences(results.findings, metric), findings_tables(results.findings, metric)
    if sentences:
        sections.append("\n\n".join(["## The study as a whole", *sentences]) + "\n")
    sections += ["\n\n".join([f"## {table.title}", table.markdown(), *table.notes]) + "\n" for table in tables]
    return "\n".join(sections)


def _markdown_section(result: BenchmarkResult) -> str:
    table = comparison_table(result)
    losses = [
        f"- {loss.name}: `{loss.loss}`" + (f", {loss.settings}" if loss.settings else "") for loss in result.losses
    ]
    post = post_table(result)
    after = [] if post is None else [f"### {post.title}", post.markdown(), *post.notes]
    blocks = [f"## {result.name}", verdict(result), table.markdown(), *table.notes, *after, "\n".join(losses)]
    return "\n\n".join(blocks) + "\n"


def latex(results: Results) -> str:
    """Return every benchmark as a LaTeX table, with its verdict in the caption; needs the package booktabs."""
    tables = []
    for result in results.fields:
        table = comparison_table(result)
        # LaTeX has no place for notes below a table, so the verdict becomes the caption.
        tables.append(Table(f"{result.name}. {verdict(result)}", table.header, table.rows, bold=table.bold).latex())
        post = post_table(result)
        tables += [] if post is None else [post.latex()]
    return "\n".join(tables)


def values_table(results: Results) -> Table:
    """Return every number of a comparison, one row per value and seed.

    The column epoch holds the number of the epoch, `kept` for a metric of the selected epoch, `kept` and the steps for the
    same after post-processing, or `all` for the duration of the whole run.
    """
    columns = ("field", "loss", "seed", "epoch", "metric", "value")
    cells = [row for result in results.fields for loss in result.losses for row in _value_rows(result, loss)]
    return Table("Every value of every seed", columns, cells)


def _value_rows(result: BenchmarkResult, loss: LossResult) -> Iterator[list[str]]:
    # The stored words "field" and "kept" are older than the words that are used elsewhere now.
    series = [("kept", metric.name, metric.over_seeds, loss.seeds) for metric in loss.metrics]
    epochs = zip(loss.evaluated_epochs, loss.curve, strict=True)
    series += [(str(epoch), result.metric, point, loss.seeds) for epoch, point in epochs]
    series += [("all", "seconds", loss.seconds, loss.seeds)]
    # Some runs of a loss may be measured after post-processing, and others not yet.
    series += [
        (f"kept, {result.post_name}", metric.name, metric.over_seeds, post.seeds or loss.seeds)
        for post in result.post
        if post.name == loss.name
        for metric in post.metrics
    ]
    for epoch, metric, interval, seeds in series:
        for seed, value in zip(seeds, interval.values, strict=True):
            yield [result.name, loss.name, str(seed), epoch, metric, str(value)]


def differences_table(results: Results) -> Table:
    """Return every paired difference with its intervals, one row per pair of losses."""
    columns = ["field", "metric", "first", "second", "mean", "seeds_low", "seeds_high", "classes_low", "classes_high"]
    cells = []
    for result in results.fields:
        for d in result.differences:
            over = d.over_seeds
            numbers = [over.mean, over.low, over.high, d.class_low, d.class_high, result.level]
            # One seed has no interval over seeds; its cells are empty.
            texts = ["" if number is None else str(number) for number in numbers]
            cells.append([result.name, d.metric, d.first, d.second, *texts, str(d.distinguishable)])
    return Table("Every paired difference", [*columns, "level", "distinguishable"], cells)


def write_tables(results: Results, folder: Path) -> list[Path]:
    """Write comparison.md, comparison.tex, comparison.csv and differences.csv; returns the files."""
    texts = {
        "comparison.md": markdown(results),
        "comparison.tex": latex(results),
        "comparison.csv": values_table(results).csv(),
        "differences.csv": differences_table(results).csv(),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]
