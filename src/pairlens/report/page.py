"""Page records: what a report consists of, independent of HTML."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from PIL import Image

from pairlens.core.table import Table
from pairlens.plotting.style import Picture


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of text."""

    text: str


@dataclass(frozen=True)
class TableBlock:
    """A table on the page.

    Attributes:
        table: its content.
        folded: whether it is closed until a reader clicks on its title; on paper it is always open.
        explanations: by the name of a row, a sentence shown below that name.
    """

    table: Table
    folded: bool = False
    explanations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CodeBlock:
    """Text as it is typed or stored.

    Attributes:
        title: what it is.
        text: the lines.
        folded: whether it is closed until a reader clicks on its title; on paper it is always open.
    """

    title: str
    text: str
    folded: bool = False


@dataclass(frozen=True)
class FigureBlock:
    """A figure from a file.

    Attributes:
        picture: an SVG, or a PNG made of photos.
        importance: if the page becomes too large, pictures of photos are left out, those of least importance first. A
            drawing is left out only if it has importance 0, because its numbers are elsewhere.
    """

    picture: Picture
    importance: int = 1


@dataclass(frozen=True, eq=False)
class PhotoTile:
    """One photo with its caption.

    Attributes:
        photo: the photo at its stored size.
        name: the class of the photo.
        note: a second line, such as its rank.
        is_correct: whether it has the class of the query, shown as a check mark or a cross; None shows neither.
    """

    photo: Image.Image
    name: str
    note: str = ""
    is_correct: bool | None = None


@dataclass(frozen=True, eq=False)
class PhotoRow:
    """Some photos that belong together.

    Attributes:
        title: what they have in common.
        tiles: from left to right.
        leading: how many of the first tiles stand apart from the others, such as the query.
    """

    title: str
    tiles: Sequence[PhotoTile]
    leading: int = 1


@dataclass(frozen=True, eq=False)
class PhotoBlock:
    """Rows of photos.

    Attributes:
        caption: what the rows show, and by which rule they were chosen.
        rows: from top to bottom.
        importance: as of `FigureBlock`.
    """

    caption: str
    rows: Sequence[PhotoRow]
    importance: int = 1


Block = Paragraph | TableBlock | CodeBlock | FigureBlock | PhotoBlock


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading.

    Attributes:
        title: the heading.
        blocks: what stands below it.
        level: 2 for a main part, 3 for a part of the main part before it.
    """

    title: str
    blocks: Sequence[Block]
    level: int = 2


@dataclass(frozen=True)
class Page:
    """A report.

    Attributes:
        kind: the subject of the report, printed above the title.
        title: the verdict in one sentence.
        verdict: more sentences, each a paragraph.
        facts: names and values below them.
        lead: what a reader sees first: one figure, one table.
        sections: everything else, in order.
        origin: which program wrote the page, and when.
    """

    kind: str
    title: str
    verdict: Sequence[str]
    facts: Sequence[tuple[str, str]]
    lead: Sequence[Block]
    sections: Sequence[Section]
    origin: str

    def blocks(self) -> Iterator[Block]:
        """Yield every block of the page."""
        yield from self.lead
        for section in self.sections:
            yield from section.blocks
