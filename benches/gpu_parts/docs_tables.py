"""The GPU tables of docs/performance.md, filled from the stored results of a run."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from gpu_parts.results import Results

NOT_RUN = "*Not yet run.*"
Row = dict[str, Any]


def write_tables(results: Results, document: Path) -> None:
    """Replace what stands between the markers of each part; a part without results keeps "Not yet run".

    Raises:
        ValueError: for the results of a dry run, whose figures say nothing, or a document without a marker.
    """
    stored = results.read()
    if stored["dry_run"]:
        raise ValueError(f"{results.file} is of a dry run on the CPU; its figures must not stand in {document.name}")
    text = document.read_text(encoding="utf-8")
    for part, make in TABLES.items():
        text = _replace(text, part, _section(stored["parts"].get(part), make), document)
    document.write_text(text, encoding="utf-8")


def _replace(text: str, part: str, content: str, document: Path) -> str:
    begin, end = f"<!-- gpu:{part} -->", f"<!-- end of gpu:{part} -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise ValueError(f"{document} must have the markers {begin} and {end} exactly once")
    return pattern.sub(lambda _: f"{begin}\n{content}\n{end}", text)


def _section(part: Row | None, make: Callable[[Row], str]) -> str:
    """Return the table of a part under a line that says where and how it was measured, and how it ended."""
    if part is None or not part.get("rows"):
        return NOT_RUN
    about = part.get("about", {})
    where = f"{about.get('device')}, torch {about.get('torch')}, commit {about.get('commit')}, {about.get('date')}"
    status = part.get("status", "stopped: the run was cut off")
    ended = "" if status == "finished" else f" **{status[0].upper()}{status[1:]}**; what was measured until then:"
    reason = part["rows"].get("error", part["rows"].get("skipped"))
    error = f" ({reason})" if reason else ""
    return f"{where}; {part.get('seconds', 0):.0f} s.{ended}{error}\n\n{make(part['rows'])}"


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    names = list(head)
    lines = [names, ["---"] * len(names), *([str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _tests(rows: Row) -> str:
    counts = rows.get("counts", {})
    failures = [(f"`{name}`", f"`{reason}`") for name, reason in rows.get("failures", {}).items()]
    summary = ", ".join(f"{count} {outcome}" for outcome, count in counts.items()) or "none was run"
    return summary + (("\n\n" + _table(("failed test", "last line"), failures)) if failures else "")


def _step(rows: Row) -> str:
    ways = {name: row for name, row in rows.items() if isinstance(row, dict) and "images a second" in row}
    plain = ways.get("plain loop", {}).get("images a second")
    head = (
        "step",
        "images/s",
        "to the plain loop",
        "peak GB",
        "share of the bfloat16 rate",
        "graph breaks",
        "first step, s",
    )
    return _table(
        head,
        [
            (
                name,
                f"{row['images a second']:,.0f}",
                f"{row['images a second'] / plain:.2f} ×" if plain else "",
                f"{row['peak GB']:.1f}",
                f"{100 * row['share of the bfloat16 rate']:.1f} %",
                row["graph breaks"],
                f"{row['seconds to the first step']:.1f}",
            )
            for name, row in ways.items()
        ],
    )


def _losses(rows: Row) -> str:
    cases = {name: row for name, row in rows.items() if isinstance(row, dict)}
    sizes = sorted({int(size) for row in cases.values() for size in row if size.isdigit()})
    head = ["loss", *(f"× PML at {size:,}" for size in sizes), *(f"÷ bare at {size:,}" for size in sizes)]
    head += [f"compiled × eager at {size:,}" for size in sizes]
    pairs = (("peer", "ours"), ("ours", "bare"), ("ours", "compiled"))
    return _table(
        head,
        [
            (name, *(_ratio(row.get(str(size), {}), above, below) for above, below in pairs for size in sizes))
            for name, row in cases.items()
        ],
    )


def _ratio(row: Row, above: str, below: str) -> str:
    """Return how many times as long one takes as the other; a word where one could not be measured."""
    for name in (above, below):
        if isinstance(row.get(name), str):
            return "out of memory" if "Memory" in row[name] else "failed"
        if name not in row:
            return ""
    return f"{row[above]['seconds'] / row[below]['seconds']:.2f}"


def _kernels(rows: Row) -> str:
    verdicts = {key.removesuffix(", verdict"): row for key, row in rows.items() if key.endswith(", verdict")}
    head = ("loss, precision", "× faster", "× larger", "× faster than chunks", "× larger than chunks", "verdict")
    ratios = ("faster", "larger", "faster than chunks", "larger than chunks")
    judged = [(name, *(f"{row[key]:.2f}" for key in ratios), f"**{row['verdict']}**") for name, row in verdicts.items()]
    ways = ("eager", "compiled", "chunks", "triton")
    measured = [(name, row) for name, row in rows.items() if isinstance(row, dict) and "eager" in row]
    sizes = [
        (name, f"{size:,}", *(_milliseconds(row[way], str(size)) for way in ways))
        for name, row in measured
        for size in sorted({int(size) for way in ways for size in row[way]})
    ]
    return _table(head, judged) + "\n\n" + _table(("loss, precision", "photos", *ways), sizes)


def _milliseconds(way: Row, size: str) -> str:
    """Return time and memory of a way at a size; why there are none, or nothing where it had ended before."""
    found = way.get(size, "")
    if isinstance(found, str):
        return "out of memory" if "Memory" in found else "failed" if found else ""
    return f"{1e3 * found['seconds']:.2f} ms, {found['peak GB']:.2f} GB"


def _evaluation(rows: Row) -> str:
    sets = {name: row for name, row in rows.items() if isinstance(row, dict) and "FAISS, seconds" in row}
    head = (
        "set",
        "ours on the GPU, s",
        "FAISS alone on the CPU, s",
        "ratio",
        "peak GB",
        "same neighbours",
        "R@1 apart",
    )
    return _table(
        head,
        [
            (
                name,
                _number(row, "evaluate, seconds", "{:.2f}"),
                f"{row['FAISS, seconds']:.1f} ({row['FAISS, CPU threads']} threads)",
                f"{row['FAISS, seconds'] / row['evaluate, seconds']:.1f} ×" if "evaluate, seconds" in row else "",
                _number(row, "evaluate, peak GB", "{:.2f}"),
                _number(row, "same neighbour, share", "{:.6f}"),
                _number(row, "R@1 apart", "{:.1e}"),
            )
            for name, row in sets.items()
        ],
    )


def _number(row: Row, key: str, form: str) -> str:
    return form.format(row[key]) if key in row else "not reached"


def _cub(rows: Row) -> str:
    lines = []
    if "backbone as it comes" in rows:
        backbone = rows["backbone as it comes"]
        lines.append(("pretrained backbone as it comes", *(f"{100 * value:.1f}" for value in backbone.values())))
    for key, row in rows.items():
        if key.endswith(", over seeds"):
            cells = [f"{100 * mean:.1f} ± {100 * spread:.1f}" for mean, spread in list(row.values())[1:]]
            lines.append((f"{key.removesuffix(', over seeds')} ({row['runs']} runs)", *cells))
    names = list(rows.get("backbone as it comes", {"R@1": 0}))
    plan, loading = rows.get("plan", {}), rows.get("loading", {})
    text = _table(("model", *(f"{name}, %" for name in names)), lines)
    if plan and loading:
        text += (
            f"\n\nEfficientNet-Lite0, {plan['image_size']} px, batch {plan['batch_size']}, {plan['epochs']} epochs; "
            f"{loading['photos a second']:,.0f} photos/s, of which time the GPU waits for photos "
            f"{100 * loading['share of time the GPU waits']:.1f} %."
        )
    return text


def _backbones(rows: Row) -> str:
    lines, names = [], []
    for key, row in rows.items():
        if isinstance(row, dict):
            cut_off = "" if row["epoch"] == row["epochs"] else ", cut off"
            names = [name for name in row if name not in ("epoch", "epochs", "seconds an epoch")]
            cells = [f"{100 * row[name]:.1f}" for name in names]
            lines.append((key, f"{row['epoch']} of {row['epochs']}{cut_off}", *cells))
    reasons = [f"- {key}: {row}" for key, row in rows.items() if isinstance(row, str)]
    table = _table(("backbone, weights, loss", "epochs", *(f"{name}, %" for name in names)), lines)
    return "\n\n".join(part for part in (table, "\n".join(reasons)) if part)


TABLES: dict[str, Callable[[Row], str]] = {
    "tests": _tests,
    "step": _step,
    "losses": _losses,
    "kernels": _kernels,
    "evaluation": _evaluation,
    "cub": _cub,
    "backbones": _backbones,
}
