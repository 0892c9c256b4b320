"""The report as a page: records of what it shows, and one HTML file that needs nothing else."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from pairlens.plotting.style import Picture
from pairlens.report.inline_images import QUALITIES, Inlined, inline, is_photo

MOST_BYTES = 5_000_000
# Of a drawing's and of a photo sheet's natural width, below which it is moved sideways instead of made smaller.
LEAST_SCALE, LEAST_SHEET = 0.7, 0.5


@dataclass(frozen=True)
class Paragraph:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        caption: what it holds.
        head: names of the columns.
        rows: cells; the first of each row names it.
        strong: names of rows that stand out.
        note: said below it.
        words: whether its cells are text, which is set to the left and broken, and not numbers.
        folded: whether it is opened by a click (and open on paper).
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    strong: frozenset[str] = frozenset()
    note: str = ""
    words: bool = False
    folded: bool = False


@dataclass(frozen=True)
class CodeBlock:
    """Text as it is typed or stored; with `folded` it is opened by a click (and open on paper)."""

    caption: str
    text: str
    folded: bool = False


@dataclass(frozen=True)
class FigureBlock:
    """A figure.

    Attributes:
        picture: on disk.
        importance: where the page would be too large, the least important pictures of photos are left out first.
        whole: whether it is always seen whole, however small.
    """

    picture: Picture
    importance: int = 1
    whole: bool = False

    @property
    def scale(self) -> float:
        """How small it may become."""
        return 0.0 if self.whole else LEAST_SHEET if is_photo(self.picture) else LEAST_SCALE


Block = Paragraph | Table | CodeBlock | FigureBlock


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
    shown = [block for block in page.blocks() if isinstance(block, FigureBlock)]
    lines = {id(b): inline(b.picture, n, QUALITIES[0]) for n, b in enumerate(shown) if not is_photo(b.picture)}
    photos = sorted((b for b in shown if is_photo(b.picture)), key=lambda block: block.importance)
    text = ""
    for pictures in _attempts(photos):
        text = _fill(page, lines | pictures)
        if len(text.encode()) <= most:
            return text
    raise ValueError(
        f"the report takes {len(text.encode()) / 1e6:.1f} MB without any photo, more than {most / 1e6:.1f} MB"
    )


def _attempts(photos: Sequence[FigureBlock]) -> Iterator[dict[int, Inlined]]:
    """Yield the photos ever smaller, then ever fewer."""
    found: dict[int, Inlined] = {}
    for quality in QUALITIES:
        found = {id(block): inline(block.picture, 0, quality) for block in photos}
        yield found
    for left_out in range(1, len(photos) + 1):
        yield {id(block): found[id(block)] for block in photos[left_out:]}


def _fill(page: Page, drawn: dict[int, Inlined]) -> str:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    kinds: dict[str, type] = {"prose": Paragraph, "grid": Table, "listing": CodeBlock}
    for name, kind in kinds.items():
        environment.tests[name] = lambda block, kind=kind: isinstance(block, kind)
    template = environment.from_string(files("pairlens.report").joinpath("page.html").read_text(encoding="utf-8"))
    return template.render(page=page, drawn=drawn, name=id, anchors=anchors(page.sections))


def anchors(sections: Sequence[Section]) -> list[str]:
    """Return a name for each section that no other has.

    >>> anchors([Section("Result", ()), Section("Result", ())])
    ['s1-result', 's2-result']
    """
    words = ["".join(c if c.isalnum() and c.isascii() else "-" for c in s.title.lower()) for s in sections]
    return [f"s{number}-{word}".strip("-") for number, word in enumerate(words, 1)]
