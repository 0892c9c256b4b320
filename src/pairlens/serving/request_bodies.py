"""Reading the bodies of requests: JSON, and forms with files; what is wrong is said in one sentence."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from pairlens.collection.filters import Between, Condition, OneOf, as_conditions, between, parse_filter, under
from pairlens.collection.item import Region
from pairlens.collection.packed_vector import unpack_vector
from pairlens.serving.problems import Problem
from pairlens.serving.query_photos import QueryPhotos
from pairlens.serving.schemas import RangeCondition, SearchBody, UnderCondition, VectorText
from pairlens.serving.search_request import SearchRequest
from pairlens.serving.settings import ServingLimits

Body = TypeVar("Body", bound=BaseModel)
# Fields of a search form that hold several values, and those that hold a JSON number or truth value.
_LISTS = ("id", "unlike", "where")
_FORM = "multipart/form-data"


@dataclass(frozen=True, eq=False)
class ReadSearch:
    """A search as it was read, with the digests of its photos and what else was asked for."""

    request: SearchRequest
    digests: tuple[str, ...]
    explain: bool
    with_vector: bool


def is_form(request: Request) -> bool:
    """Return whether a request brings a form with files."""
    return request.headers.get("content-type", "").startswith(_FORM)


async def read_form(request: Request, limits: ServingLimits) -> FormData:
    """Return the fields and files of a form."""
    # A field that is no file lies in memory; a vector of 65,536 numbers as text fits.
    return await request.form(max_files=limits.files, max_fields=limits.fields, max_part_size=limits.text_body)


async def read_body(request: Request, kind: type[Body]) -> Body:
    """Return a JSON body as a record; raises a problem with one sentence."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Problem(415, f"the body is {media_type or 'of no stated type'}; send application/json")
    return checked_body(await request.body(), kind)


def checked_body(contents: bytes, kind: type[Body]) -> Body:
    """Return JSON as a record; raises a problem with one sentence.

    >>> checked_body(b'{"id": 3}', SearchBody).id
    3
    """
    try:
        # Six times as fast as Python's own reader for a vector; NaN and Infinity are no JSON.
        value = from_json(contents, allow_inf_nan=False)
    except ValueError as error:
        raise Problem(400, f"the body is not JSON ({error}); correct it") from None
    return _validated(value, kind)


def _validated(value: Any, kind: type[Body]) -> Body:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        # A union names each of its kinds; the name of the field is what the caller wrote.
        place = ".".join(str(part) for part in first["loc"][:2]) or "the body"
        raise Problem(422, f"{place}: {first['msg'][:1].lower()}{first['msg'][1:]}; see /openapi.json") from None


async def uploaded_files(form: FormData, field: str) -> tuple[list[bytes], list[str]]:
    """Return the contents and the names of the files of a form; raises a problem if there are none."""
    files = [value for value in form.getlist(field) if isinstance(value, UploadFile)]
    # A browser sends an empty file where none was chosen.
    contents = [(await file.read(), file.filename or "") for file in files if file.filename or file.size]
    if not contents:
        raise Problem(422, f"the form has no file in its field {field}; send one or more picture files")
    return [bytes for bytes, _ in contents], [name for _, name in contents]


async def read_search(request: Request, kept: QueryPhotos, limits: ServingLimits) -> ReadSearch:
    """Return what a request searches for, from a form with files or from JSON."""
    if not is_form(request):
        body = await read_body(request, SearchBody)
        photos = () if body.photo is None else (kept.read(body.photo),)
        digests = () if body.photo is None else (body.photo,)
        return ReadSearch(as_request(body, photos, limits), digests, body.explain, body.with_vector)
    async with request.form(max_files=limits.files, max_fields=limits.fields, max_part_size=limits.text_body) as form:
        contents, _ = await uploaded_files(form, "photo")
        query = form.get("query")
        whole = isinstance(query, str) and bool(query.strip())
        body = checked_body(str(query).encode(), SearchBody) if whole else _validated(_form_values(form), SearchBody)
    # Not in the thread that serves all connections: the digest of 64 MiB takes a tenth of a second.
    digests = await asyncio.to_thread(lambda: tuple(kept.keep(photo) for photo in contents))
    return ReadSearch(as_request(body, contents, limits), digests, body.explain, body.with_vector)


def _form_values(form: FormData) -> dict[str, Any]:
    """Return the fields of a search form as the values of its JSON form."""
    values: dict[str, Any] = {}
    for name in dict.fromkeys(form.keys()):
        texts = [value for value in form.getlist(name) if isinstance(value, str)]
        if name == "region" and texts:
            values[name] = texts[0].split(",")
        elif name != "photo" and texts:
            values[name] = texts if name in _LISTS else texts[0]
    return values


def as_request(body: SearchBody, photos: Sequence[bytes], limits: ServingLimits) -> SearchRequest:
    """Return a body as the service takes it."""
    if body.k > limits.results:
        raise Problem(422, f"k is {body.k:,}, but this server returns at most {limits.results:,} results")
    if body.explain and body.k > limits.explained:
        raise Problem(422, f"at most {limits.explained} results are explained, but k is {body.k}; lower it")
    return SearchRequest(
        photos=tuple(photos),
        ids=_listed(body.id),
        vectors=_vectors(body.vector),
        unlike=_listed(body.unlike),
        region=None if body.region is None else Region(*body.region),
        where=as_filter(body.where),
        k=body.k,
        index=body.index,
        group=body.group,
        rate=body.rate,
    )


def _vectors(given: VectorText | list[float] | Sequence[VectorText | list[float]]) -> tuple[np.ndarray, ...]:
    """Return the vectors of a body, each of them numbers or a text that packs them."""
    is_one = isinstance(given, str) or (len(given) > 0 and isinstance(given[0], float))
    rows: Any = [given] if is_one else given
    return tuple(_unpacked(row) if isinstance(row, str) else np.asarray(row, np.float64) for row in rows)


def _unpacked(text: VectorText) -> np.ndarray:
    try:
        return unpack_vector(text)
    except ValueError as error:
        raise Problem(422, f"vector: {error}") from None


def _listed(ids: int | Sequence[int]) -> tuple[int, ...]:
    return (ids,) if isinstance(ids, int) else tuple(ids)


def as_filter(where: Mapping[str, Any] | Sequence[str]) -> dict[str, Condition]:
    """Return the filter of a body as conditions.

    >>> as_filter({"price": RangeCondition(low=3), "label": ["dress"]})
    {'price': Between(low=3.0, high=None), 'label': OneOf(values=('dress',))}
    """
    if not isinstance(where, Mapping):
        return _storable(parse_filter(where))
    wanted: dict[str, Any] = {}
    for key, condition in where.items():
        match condition:
            case RangeCondition():
                wanted[key] = between(condition.low, condition.high)
            case UnderCondition():
                wanted[key] = under(condition.under)
            case _:
                wanted[key] = condition
    return _storable(as_conditions(wanted))


def _storable(where: dict[str, Condition]) -> dict[str, Condition]:
    """Return a filter whose numbers a database can hold; raises a problem otherwise."""
    for key, condition in where.items():
        ends = condition.values if isinstance(condition, OneOf) else ()
        ends = (condition.low, condition.high) if isinstance(condition, Between) else ends
        if any(isinstance(end, int) and abs(end) >= 1 << 63 for end in ends):
            raise Problem(422, f"the filter of {key!r} has a number of more than 63 bits; give a smaller one")
    return where
