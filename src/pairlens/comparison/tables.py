"""The tables of a comparison: Markdown, LaTeX, and CSV with every number."""

import csv
from collections.abc import Iterable
from io import StringIO
from pathlib import Path

from pairlens.comparison.results import BenchmarkResult, LossResult, Measured, Results
from pairlens.comparison.verdicts import verdict
from pairlens.core.files import write_text
from pairlens.evaluation.evaluate import percent
from pairlens.evaluation.intervals import Interval

NOTE = (
    "Percent; mean ± half of the 95 % t-interval over seeds. Bold: the highest mean, and whatever cannot be told from it by "
    "{metric}. In brackets: 95 % interval of {metric} when the test classes are drawn anew."
)


def header(field: BenchmarkResult) -> list[str]:
    """Return the names of a field's columns."""
    names = [metric.name for metric in field.losses[0].metrics]
    return ["loss", *names, f"{field.metric} over classes", "mean s_p", "mean s_n", "seconds", "seeds"]


def rows(field: BenchmarkResult) -> list[list[str]]:
    """Return a row a loss, best first, the untrained backbone last."""
    found = [_row(field, loss) for loss in field.losses]
    columns = [metric.name for metric in field.losses[0].metrics]
    before = [plus_minus(field.untrained) if name == field.metric else "" for name in columns]
    return [*found, ["untrained", *before, "", "", "", "", str(len(field.untrained.values))]]


def _row(field: BenchmarkResult, loss: LossResult) -> list[str]:
    ranked = loss.metric(field.metric)
    s_p, s_n = ("-" if x is None else f"{x.mean:.3f}" for x in (loss.mean_s_p, loss.mean_s_n))
    cells = [plus_minus(metric.over_seeds) for metric in loss.metrics]
    return [loss.name, *cells, _classes(ranked), s_p, s_n, f"{loss.seconds.mean:.0f}", str(len(loss.seeds))]


def _classes(metric: Measured) -> str:
    return f"[{percent(metric.class_low)}, {percent(metric.class_high)}]"


def plus_minus(interval: Interval) -> str:
    """Write a mean in percent with half its interval.

    >>> plus_minus(Interval(0.25, 0.24, 0.26, (0.25, 0.25)))
    '25.0 ± 1.0'
    """
    if interval.low is None:
        return percent(interval.mean)
    return f"{percent(interval.mean)} ± {percent(interval.mean - interval.low)}"


def stands_out(field: BenchmarkResult, loss: LossResult) -> bool:
    """Whether a loss has the highest mean, or cannot be told from the one that has."""
    best = field.losses[0]
    return loss is best or not any(
        d.distinguishable for d in field.differences if {d.first, d.second} == {best.name, loss.name}
    )


def markdown(results: Results) -> str:
    """Return every field as a Markdown table under its verdict."""
    return "\n".join(_markdown_field(field) for field in results.fields)


def _markdown_field(field: BenchmarkResult) -> str:
    head = header(field)
    bold = {loss.name for loss in field.losses if stands_out(field, loss)}
    lines = [f"## {field.name}", "", verdict(field), "", _line(head), _line(["---"] * len(head))]
    for name, *cells in rows(field):
        lines.append(_line([f"**{name}**" if name in bold else name, *cells]))
    settings = [
        f"- {loss.name}: `{loss.loss}`" + (f", {loss.settings}" if loss.settings else "") for loss in field.losses
    ]
    return "\n".join([*lines, "", NOTE.format(metric=field.metric), "", *settings, ""])


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def latex(results: Results) -> str:
    """Return every field as a LaTeX table (needs booktabs)."""
    return "\n".join(_latex_field(field) for field in results.fields)


def _latex_field(field: BenchmarkResult) -> str:
    head = header(field)
    bold = {loss.name for loss in field.losses if stands_out(field, loss)}
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{_tex(field.name)}. {_tex(verdict(field))}}}"]
    lines += [rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}", r"\toprule", _tex_line(head), r"\midrule"]
    for name, *cells in rows(field):
        row = _tex_line([name, *cells])
        lines.append(rf"\textbf{{{_tex(name)}}}" + row[len(_tex(name)) :] if name in bold else row)
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _tex_line(cells: Iterable[str]) -> str:
    return " & ".join(map(_tex, cells)) + r" \\"


def _tex(text: str) -> str:
    escaped = "".join("\\" + c if c in "%&_#${}" else c for c in text.replace("\\", "/"))
    return escaped.replace("±", r"$\pm$").replace("~", r"\textasciitilde{}").replace("^", r"\textasciicircum{}")


def long_rows(results: Results) -> Iterable[list[object]]:
    """Yield every number of a comparison, a row a value of a seed."""
    yield ["field", "loss", "seed", "epoch", "metric", "value"]
    for field in results.fields:
        for loss in field.losses:
            for metric in loss.metrics:
                for seed, value in zip(loss.seeds, metric.over_seeds.values, strict=True):
                    yield [field.name, loss.name, seed, "kept", metric.name, value]
            for epoch, point in enumerate(loss.curve):
                for seed, value in zip(loss.seeds, point.values, strict=True):
                    yield [field.name, loss.name, seed, epoch, field.metric, value]
            for seed, value in zip(loss.seeds, loss.seconds.values, strict=True):
                yield [field.name, loss.name, seed, "all", "seconds", value]


def difference_rows(results: Results) -> Iterable[list[object]]:
    """Yield every paired difference with its intervals."""
    head = ["field", "metric", "first", "second", "mean", "seeds_low", "seeds_high", "classes_low", "classes_high"]
    yield [*head, "level", "distinguishable"]
    for field in results.fields:
        for d in field.differences:
            over = d.over_seeds
            ends = [over.mean, over.low, over.high, d.class_low, d.class_high, field.level]
            yield [field.name, d.metric, d.first, d.second, *ends, d.distinguishable]


def write_tables(results: Results, folder: Path) -> list[Path]:
    """Write comparison.md, comparison.tex, comparison.csv and differences.csv; returns the files."""
    texts = {
        "comparison.md": markdown(results),
        "comparison.tex": latex(results),
        "comparison.csv": _csv(long_rows(results)),
        "differences.csv": _csv(difference_rows(results)),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def _csv(lines: Iterable[Iterable[object]]) -> str:
    buffer = StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(lines)
    return buffer.getvalue()
