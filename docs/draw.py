"""Write what docs/losses.md shows: the weight curves, the catalogue and the tables of the benches.

make docs        # after adding a loss, or running benches/losses.py
"""

import sys
from pathlib import Path

from pairlens.analysis.catalogue import CATALOGUE, HEADER
from pairlens.analysis.figures import draw_weight_curve
from pairlens.analysis.weights import weight_curve
from pairlens.losses import NPair, SNRContrastive

DOCS = Path(__file__).parent
PAGE = DOCS / "losses.md"
FIGURES = "images/losses"
AXES = {NPair: "inner product of the pair", SNRContrastive: "minus the distance of the pair"}


def draw_figures() -> None:
    """Draw the weight curve of every loss with its defaults."""
    for entry in CATALOGUE:
        of = AXES.get(entry.loss, "similarity of the pair")
        draw_weight_curve(weight_curve(entry.loss()), entry.name, DOCS / FIGURES / entry.figure, of)


def replace_part(text: str, name: str, part: str) -> str:
    """Return a page with what stands between two marks of this name replaced."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = text.partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{PAGE} lacks the marks {start} and {end}; put them back where the {name} belongs")
    return f"{before}{start}\n{part}\n{end}{after}"


def bench_tables() -> tuple[str, str, str]:
    """Return the tables of benches/losses.py from the file that it wrote."""
    sys.path.insert(0, str(DOCS.parent / "benches"))
    import losses as bench

    results = bench.read_results(bench.RESULTS)
    batch = results["pair"] | results["ranking"]
    return bench.batch_table(batch), bench.proxy_table(results["proxy"]), bench.summary(batch)


def updated(text: str) -> str:
    """Return the page with its tables as the code and the results of benches/losses.py have them."""
    batch, proxy, summary = bench_tables()
    rows = "\n".join([HEADER, *(entry.markdown(FIGURES) for entry in CATALOGUE)])
    for name, part in (("catalogue", rows), ("batch", batch), ("proxies", proxy), ("summary", summary)):
        text = replace_part(text, name, part)
    return text


def main() -> None:
    """Write figures and page."""
    draw_figures()
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
