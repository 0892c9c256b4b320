"""Write what docs/losses.md and docs/analysis.md show of losses: their figures, their table and the tables of the bench.

make docs        # after adding a loss, or running benches/losses.py
"""

import sys
import tempfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from PIL import Image

from pairlens.analysis.explain import explain_loss, write_explanations
from pairlens.analysis.loss_card import HEADER
from pairlens.analysis.loss_figures import draw_weight_curve
from pairlens.analysis.loss_table import LOSS_CARDS
from pairlens.analysis.pair_weights import weight_curve
from pairlens.losses import Circle, MultiSimilarity, ProxyAnchor, Triplet

DOCS = Path(__file__).parent
PAGE = DOCS / "losses.md"
FIGURES = "images/losses"
# The figure of docs/analysis.md, and how wide it is in pixels.
EXPLAINED, WIDTH = (Triplet(margin=0.3), Circle(margin=0.25, gamma=32), MultiSimilarity(), ProxyAnchor()), 1300


def draw_figures() -> None:
    """Draw the weight curve of every loss with its defaults."""
    for entry in LOSS_CARDS:
        if entry.figure:
            draw_weight_curve(weight_curve(entry.loss()), entry.name, DOCS / FIGURES / entry.figure, entry.axis)


def draw_explanation() -> None:
    """Draw the figure of docs/analysis.md that `pairlens explain` writes for four losses."""
    with tempfile.TemporaryDirectory() as folder:
        write_explanations([explain_loss(loss) for loss in EXPLAINED], Path(folder))
        picture = Image.open(Path(folder) / "explain.png").convert("RGB")
    picture.thumbnail((WIDTH, WIDTH))
    picture.quantize(128).save(DOCS / "images" / "explain.png", optimize=True)


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
    # Loaded by its path: the tests have a folder of the same name, which an import by name could find first.
    spec = spec_from_file_location("loss_bench", DOCS.parent / "benches" / "losses.py")
    assert spec is not None
    assert spec.loader is not None
    bench = sys.modules["loss_bench"] = module_from_spec(spec)
    spec.loader.exec_module(bench)

    results = bench.read_results(bench.RESULTS)
    batch = results["pair"] | results["ranking"]
    return bench.batch_table(batch), bench.proxy_table(results["proxy"]), bench.summary(batch)


def updated(text: str) -> str:
    """Return the page with its tables as the code and the results of benches/losses.py have them."""
    batch, proxy, summary = bench_tables()
    rows = "\n".join([HEADER, *(entry.markdown(FIGURES) for entry in LOSS_CARDS)])
    for name, part in (("catalogue", rows), ("batch", batch), ("proxies", proxy), ("summary", summary)):
        text = replace_part(text, name, part)
    return text


def main() -> None:
    """Write the figures and the page."""
    draw_figures()
    draw_explanation()
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
