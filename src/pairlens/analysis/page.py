"""The report as a page: records of what it shows, and one HTML file that needs nothing else."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from pairlens.analysis.inline import QUALITIES, Inlined, Quality, inline, is_photo, total
from pairlens.analysis.style import Picture

MOST_BYTES = 5_000_000
# Of a figure's natural width, below which its text is too small: then it is moved sideways instead of made smaller.
LEAST_SCALE = 0.72


@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Grid:
    """A table.

    Attributes:
        caption: what it holds.
        head: names of the columns.
        rows: cells; the first of each row names it.
        strong: names of rows that stand out.
        note: said below it.
        words: whether its cells are text, which is set to the left and broken, and not numbers.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    strong: frozenset[str] = frozenset()
    note: str = ""
    words: bool = False


@dataclass(frozen=True)
class Listing:
    """Text as it is typed or stored; with `folded` it is opened by a click (and open on paper)."""

    caption: str
    text: str
    folded: bool = False


@dataclass(frozen=True)
class Shown:
    """A figure.

    Attributes:
        picture: on disk.
        importance: where the page would be too large, the least important pictures of photos are left out first.
    """

    picture: Picture
    importance: int = 1


Block = Prose | Grid | Listing | Shown


@dataclass(frozen=True)
class Section:
    """A part of the page under its heading."""

    title: str
    blocks: Sequence[Block]
    level: int = 2


@dataclass(frozen=True)
class Page:
    """A report.

    Attributes:
        kind: what it is a report of, above the title.
        title: the verdict in a sentence.
        verdict: more sentences, each a paragraph.
        facts: names and values under them.
        lead: what the page opens with.
        sections: the rest, in order.
        made: by what and when.
    """

    kind: str
    title: str
    verdict: Sequence[str]
    facts: Sequence[tuple[str, str]]
    lead: Sequence[Block]
    sections: Sequence[Section]
    made: str

    def blocks(self) -> Iterator[Block]:
        """Yield every block of the page."""
        yield from self.lead
        for section in self.sections:
            yield from section.blocks


def render(page: Page, most: int = MOST_BYTES) -> str:
    """Return a page as HTML of at most so many bytes.

    Photos are kept as large and exact as fits; if the smallest are too large still, the least important are left out, and
    the page says so.

    Args:
        page: what to show.
        most: bytes.

    Raises:
        ValueError: if it does not fit without any photo.
    """
    shown = [block for block in page.blocks() if isinstance(block, Shown)]
    drawn = {id(b): inline(b.picture, n, QUALITIES[0]) for n, b in enumerate(shown) if not is_photo(b.picture)}
    rest = len(_fill(page, drawn).encode())
    if rest > most:
        raise ValueError(f"the report takes {rest / 1e6:.1f} MB without any photo, more than {most / 1e6:.1f} MB")
    photos = [block for block in shown if is_photo(block.picture)]
    return _fill(page, drawn | _fitting(photos, most - rest))


def _fitting(photos: Sequence[Shown], room: int) -> dict[int, Inlined]:
    for quality in QUALITIES:
        found = _inlined(photos, quality)
        if total(list(found.values())) <= room:
            return found
    kept = sorted(photos, key=lambda block: -block.importance)
    while kept and total([found[id(block)] for block in kept]) > room:
        kept.pop()
    return {id(block): found[id(block)] for block in kept}


def _inlined(photos: Sequence[Shown], quality: Quality) -> dict[int, Inlined]:
    return {id(block): inline(block.picture, 0, quality) for block in photos}


def _fill(page: Page, drawn: dict[int, Inlined]) -> str:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    kinds: dict[str, type] = {"prose": Prose, "grid": Grid, "listing": Listing}
    for name, kind in kinds.items():
        environment.tests[name] = lambda block, kind=kind: isinstance(block, kind)
    template = environment.from_string(files("pairlens.analysis").joinpath("page.html").read_text(encoding="utf-8"))
    return template.render(page=page, drawn=drawn, name=id, scale=LEAST_SCALE, anchors=anchors(page.sections))


def anchors(sections: Sequence[Section]) -> list[str]:
    """Return a name for each section that no other has.

    >>> anchors([Section("Result", ()), Section("Result", ())])
    ['s1-result', 's2-result']
    """
    words = ["".join(c if c.isalnum() and c.isascii() else "-" for c in s.title.lower()) for s in sections]
    return [f"s{number}-{word}".strip("-") for number, word in enumerate(words, 1)]
