"""What the page shows, as it stands in its address, so that a search can be looked at again and sent to somebody."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from pairlens.collection.filters import Condition, OneOf, parse_filter, split_values
from pairlens.collection.item import Region, Value
from pairlens.serving.problems import Problem
from pairlens.serving.schemas import MAX_ID

USUAL_RESULTS, MOST_RESULTS, BROWSED = 24, 200, 60


@dataclass(frozen=True)
class PageState:
    """A search, or a look at the collection where nothing is searched for.

    Attributes:
        photo: digest of a photo that was uploaded.
        ids: of photos of the collection that are searched for.
        unlike: ids of photos that the results should not look like.
        region: the part of the only photo that is searched for.
        where: texts of the filters by key, as the command line writes them.
        k: number of results.
        group: whether near-duplicates are collapsed.
        after: id after which photos are shown where nothing is searched for.
    """

    photo: str | None = None
    ids: tuple[int, ...] = ()
    unlike: tuple[int, ...] = ()
    region: Region | None = None
    where: tuple[tuple[str, str], ...] = ()
    k: int = USUAL_RESULTS
    group: bool = False
    after: int = 0

    @property
    def is_search(self) -> bool:
        """Whether something is searched for."""
        return self.photo is not None or bool(self.ids)

    @property
    def is_of_one_photo(self) -> bool:
        """Whether the matches can be explained, and a region can be drawn."""
        return self.is_search and (self.photo is not None) + len(self.ids) == 1 and not self.unlike

    def conditions(self) -> dict[str, Condition]:
        """Return the filter; raises ValueError if a condition has no meaning."""
        return parse_filter(f"{key}={text}" for key, text in self.where)

    def chosen(self, key: str) -> tuple[Value, ...]:
        """Return the values of a key that the filter names."""
        condition = self.conditions().get(key)
        return condition.values if isinstance(condition, OneOf) else ()

    def range_of(self, key: str) -> tuple[str, str]:
        """Return the ends of a key's range as they were written."""
        low, _, high = dict(self.where).get(key, "").partition("..")
        return low, high

    def address(self, path: str = "/") -> str:
        """Return the address of this state.

        >>> PageState(ids=(3,), where=(("label", "dress"),)).address()
        '/?id=3&where=label%3Ddress'
        """
        text = urlencode(list(self.fields()))
        return f"{path}?{text}" if text else path

    def fields(self) -> Iterable[tuple[str, str]]:
        """Yield the fields of the address, also for a form that keeps them."""
        if self.photo is not None:
            yield "photo", self.photo
        yield from (("id", str(id)) for id in self.ids)
        yield from (("not", str(id)) for id in self.unlike)
        if self.region is not None:
            yield "region", ",".join(map(str, (self.region.x, self.region.y, self.region.width, self.region.height)))
        yield from (("where", f"{key}={text}") for key, text in self.where)
        if self.k != USUAL_RESULTS:
            yield "k", str(self.k)
        if self.group:
            yield "group", "1"
        if self.after:
            yield "after", str(self.after)

    # The states that links lead to.

    def only(self, id: int) -> "PageState":
        """Search with one photo of the collection."""
        return replace(self, photo=None, ids=(id,), unlike=(), region=None, after=0)

    def more_like(self, id: int) -> "PageState":
        """Search with a further photo."""
        kept = tuple(one for one in self.unlike if one != id)
        return replace(self, ids=(*(one for one in self.ids if one != id), id), unlike=kept, region=None, after=0)

    def less_like(self, id: int) -> "PageState":
        """Search away from a photo."""
        kept = tuple(one for one in self.ids if one != id)
        return replace(self, unlike=(*(one for one in self.unlike if one != id), id), ids=kept, region=None)

    def without(self, id: int) -> "PageState":
        """Leave a photo out of the search again."""
        ids, unlike = (tuple(one for one in group if one != id) for group in (self.ids, self.unlike))
        state = replace(self, ids=ids, unlike=unlike, region=None)
        return state if state.is_search else replace(state, unlike=())

    def without_photo(self) -> "PageState":
        """Leave the uploaded photo out of the search again."""
        state = replace(self, photo=None, region=None)
        return state if state.is_search else replace(state, unlike=())

    def whole(self) -> "PageState":
        """Search for the whole photo."""
        return replace(self, region=None)

    def larger(self) -> "PageState":
        """Show more results."""
        return replace(self, k=min(MOST_RESULTS, self.k * 2))

    def next_page(self, after: int) -> "PageState":
        """Show the photos after an id."""
        return replace(self, after=after)

    def with_label(self, label: str | None) -> "PageState":
        """Show only the photos of a label."""
        where = tuple((key, text) for key, text in self.where if key != "label")
        return replace(self, where=(*where, ("label", filter_text("label", label))), after=0)

    def unfiltered(self) -> "PageState":
        """Show everything."""
        return replace(self, where=(), after=0)


def filter_text(key: str, value: Any) -> str:
    """Return a value of a filter as the command line writes it.

    >>> filter_text("label", "a, b"), filter_text("price", "3"), filter_text("price", 3), filter_text("sold", True)
    ('"a, b"', '"3"', '3', 'true')
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        return str(value).lower() if isinstance(value, bool) else repr(value)
    is_plain = parse_filter([f"{key}={value}"])[key] == OneOf((value,)) if value else False
    return value if is_plain else f'"{value}"'


def read_state(pairs: Iterable[tuple[str, str]]) -> PageState:
    """Return the state that the fields of an address or a form write; unknown fields are left out.

    Several conditions of one key, as check boxes send them, are alternatives; `from:price` and `to:price` are its range.
    A region is one field, or one for each of its four numbers.

    Raises:
        ValueError: naming the field that has no meaning.

    >>> read_state([("id", "3"), ("where", "label=a"), ("where", "label=b"), ("from:price", "2")]).where
    (('label', 'a,b'), ('price', '2..'))
    """
    fields: dict[str, list[str]] = {}
    for name, text in pairs:
        fields.setdefault(name, []).append(text)
    where = _merged(fields)
    state = PageState(
        photo=next((text for text in fields.get("photo", ()) if text), None),
        ids=_ids(fields.get("id", ())),
        unlike=_ids(fields.get("not", ())),
        region=_region(",".join(fields.get("region", ()))),
        where=where,
        k=min(MOST_RESULTS, _number(fields, "k", USUAL_RESULTS, 1)),
        group=fields.get("group", [""])[0] not in ("", "0"),
        after=min(MAX_ID, _number(fields, "after", 0, 0)),
    )
    state.conditions()
    return state


def _merged(fields: dict[str, list[str]]) -> tuple[tuple[str, str], ...]:
    values: dict[str, list[str]] = {}
    for word in fields.get("where", ()):
        key, sign, text = word.partition("=")
        if not sign:
            raise ValueError(f"the filter {word!r} has no =; write it as label=dress,skirt or price=3..10")
        values.setdefault(key, []).extend(split_values(text))
    for name, texts in fields.items():
        end, colon, key = name.partition(":")
        if colon and end in ("from", "to") and texts[0].strip():
            low, high = (fields.get(f"{side}:{key}", [""])[0].strip() for side in ("from", "to"))
            values[key] = [f"{low}..{high}"]
    return tuple((key, ",".join(dict.fromkeys(texts))) for key, texts in values.items())


def _region(text: str) -> Region | None:
    if not text:
        return None
    parts = text.split(",")
    if len(parts) != 4 or not all(part.isdecimal() and len(part) < 10 for part in parts):
        raise ValueError(f"the region {text[:40]!r} is not x,y,width,height in pixels, such as 10,20,300,200")
    return Region(*map(int, parts))


def _ids(texts: Iterable[str]) -> tuple[int, ...]:
    ids = []
    for text in texts:
        if not text.isdecimal() or int(text[:20]) > MAX_ID:
            raise Problem(422, f"{text[:40]!r} is no id of a photo; an id is a whole number")
        ids.append(int(text))
    return tuple(dict.fromkeys(ids))


def _number(fields: dict[str, list[str]], name: str, usual: int, least: int) -> int:
    text = fields.get(name, [""])[0]
    if not text:
        return usual
    if not text.isdecimal() or len(text) > 19 or int(text) < least:
        raise Problem(422, f"{name} is {text[:40]!r}, but must be a whole number of at least {least}")
    return int(text)
